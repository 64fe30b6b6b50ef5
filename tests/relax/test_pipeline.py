from tvm import relax

from tvm_equi.relax.pipeline import PIPELINE, passes, pipeline


def test_tvm_finds_the_pipeline_by_name() -> None:
    assert relax.get_pipeline(PIPELINE, kernels="packed").info.name == PIPELINE
    assert pipeline().info.name == PIPELINE


def test_memory_is_rounded_before_it_is_given_back() -> None:
    names = [each.info.name for each in passes()]
    assert names[0] == "LowerTensorProducts"
    assert names.index("FuseTIR") < names.index("ScheduleGlue")
    place = names.index("RoundMemory")
    assert names[place - 1 : place + 2] == ["LowerAllocTensor", "RoundMemory", "KillAfterLastUse"]
    assert names[-1] == "SortShapeFunctions"
