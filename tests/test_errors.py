"""The exception tree: what a caller can catch, and how a wrong choice reads."""

import pytest

from tvm_equi import errors


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (errors.GraphError, ValueError),
        (errors.UnsupportedError, NotImplementedError),
        (errors.ScheduleError, Exception),
        (errors.RecordError, Exception),
        (errors.TuningError, Exception),
        (errors.ArtifactError, Exception),
        (errors.MissingPackageError, ImportError),
        (errors.ArgumentError, ValueError),
        (errors.ArgumentTypeError, TypeError),
        (errors.IndexRangeError, IndexError),
    ],
)
def test_caught_as_root_and_as_builtin(error: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(error, errors.TvmEquiError)
    with pytest.raises(builtin, match="why"):
        raise error("why")


def test_every_error_is_under_the_root() -> None:
    defined = [value for value in vars(errors).values() if isinstance(value, type)]
    own = [value for value in defined if value.__module__ == errors.__name__]
    assert len(own) == 11
    assert all(issubclass(error, errors.TvmEquiError) for error in own)


def test_unknown_choice_lists_sorted_choices_and_the_nearest() -> None:
    message = errors.unknown_choice("Linear", "path_normalization", ("path", "element"), "elements")
    assert message == (
        "Linear: path_normalization: expected one of 'element', 'path', got 'elements'; "
        "did you mean 'element'?"
    )


def test_unknown_choice_without_a_near_spelling() -> None:
    message = errors.unknown_choice("Linear", "path_normalization", ("path", "element"), 3)
    assert message == "Linear: path_normalization: expected one of 'element', 'path', got 3"
