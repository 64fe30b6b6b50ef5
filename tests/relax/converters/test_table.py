from typing import Any

from tvm_equi.relax.converters.table import CONVERTERS, converts


def test_a_converter_is_found_by_each_of_its_names() -> None:
    names = ("test.one.default", "test.two.default")
    try:

        @converts(*names)
        def convert(steps: Any) -> Any:
            return steps

        assert all(CONVERTERS[name] is convert for name in names)
    finally:
        for name in names:
            CONVERTERS.pop(name, None)
