"""The usual sets of paths, against e3nn's."""

from e3nn import o3

from tvm_equi.graph.instructions import aligned, channelwise, fully_connected


def test_fully_connected_is_e3nns() -> None:
    irreps = "4x0e+3x1o+1x1e", "1x0e+1x1o+1x2e", "5x1o+2x0e+2x1e"
    found, instructions = fully_connected(*irreps)
    module = o3.FullyConnectedTensorProduct(*irreps)
    assert found == str(module.irreps_out)
    assert [ins[:5] for ins in instructions] == [tuple(ins)[:5] for ins in module.instructions]


def test_channelwise_has_a_segment_per_path() -> None:
    irreps, instructions = channelwise("8x0e+4x1o", "0e+1o+2e", "0e+1o+2e")
    assert irreps == "8x0e+4x0e+4x1o+4x1o+8x1o+8x2e+4x2e" or len(instructions) == 7
    sizes = o3.Irreps(irreps)
    assert [ins[2] for ins in instructions] == list(range(len(sizes)))
    assert list(sizes) == sorted(sizes, key=lambda item: item.ir)
    for i, j, k, mode, has_weight, weight in instructions:
        left = o3.Irreps("8x0e+4x1o")[i]
        assert sizes[k].ir in left.ir * o3.Irreps("0e+1o+2e")[j].ir
        assert (sizes[k].mul, mode, has_weight, weight) == (left.mul, "uvu", True, 1.0)


def test_aligned_couples_equal_channels() -> None:
    irreps, instructions = aligned("4x0e+4x1o+2x1o", "4x1o+3x0e", "0e+1o+1e")
    assert irreps == "4x0e+4x1o+4x1e"
    assert instructions == (
        (1, 0, 0, "uuu", True, 1.0),
        (0, 0, 1, "uuu", True, 1.0),
        (1, 0, 2, "uuu", True, 1.0),
    )
