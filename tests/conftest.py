"""One compile cache for a test session, and settings for many workers on one machine."""

import os
import shutil
import tempfile
import zlib
from typing import Any

import hypothesis
import pytest
import torch

CACHE = "TVM_EQUI_CACHE_DIR"
DATA = "XDG_DATA_HOME"
SEED = "TVM_EQUI_TEST_SEED"
"""Set to any text, it gives all tests other random inputs; `make test-all` does."""

SLOW = (
    "tests/bench/test_gpu.py::test_whole_run",
    "tests/cli/test_tune.py::test_tracker_worker_and_tune_as_commands",
    "tests/docs/test_deploy.py::test_commands_run",
    "tests/docs/test_fusion_diagrams.py::test_a_layer_is_e3nns[ace",
    "tests/docs/test_fusion_diagrams.py::test_a_layer_is_e3nns[allegro",
    "tests/docs/test_fusion_diagrams.py::test_a_layer_is_e3nns[cormorant",
    "tests/docs/test_fusion_diagrams.py::test_a_layer_is_e3nns[nequip",
    "tests/docs/test_fusion_diagrams.py::test_a_layer_is_e3nns[tensor_field",
    "tests/dynamo/test_entry.py::test_same_numbers_in_every_batch_with_one_compilation[demo_model",
    "tests/examples/test_distributed.py::test_gradients_are_those_of_one_process",
    "tests/examples/test_tetris.py",
    "tests/gpu_schedules/test_convolutions.py::test_equals_the_oracle[u<vw-5-5-9-shared",
    "tests/gpu_schedules/test_convolutions.py::test_equals_the_oracle[uuu-21-21-21-shared",
    "tests/gpu_schedules/test_convolutions.py::test_equals_the_oracle[uuw-7-7-18-shared",
    "tests/gpu_schedules/test_convolutions.py::test_equals_the_oracle[uvu-3-11-3-none",
    "tests/gpu_schedules/test_convolutions.py::test_equals_the_oracle[uvu-3-11-3-shared",
    "tests/gpu_schedules/test_convolutions.py::test_equals_the_oracle[uvu<v-6-6-15-none",
    "tests/gpu_schedules/test_convolutions.py::test_equals_the_oracle[uvu<v-6-6-15-shared",
    "tests/gpu_schedules/test_convolutions.py::test_equals_the_oracle[uvuv-17-2-34-none",
    "tests/gpu_schedules/test_convolutions.py::test_equals_the_oracle[uvuv-17-2-34-row",
    "tests/gpu_schedules/test_convolutions.py::test_equals_the_oracle[uvuv-17-2-34-shared",
    "tests/gpu_schedules/test_convolutions.py::test_equals_the_oracle[uvuv-3-5-15-none",
    "tests/gpu_schedules/test_convolutions.py::test_equals_the_oracle[uvuv-3-5-15-shared",
    "tests/gpu_schedules/test_convolutions.py::test_equals_the_oracle[uvv-1-4-4-none",
    "tests/gpu_schedules/test_convolutions.py::test_equals_the_oracle[uvv-1-4-4-shared",
    "tests/gpu_schedules/test_convolutions.py::test_equals_the_oracle[uvv-3-20-20-none",
    "tests/gpu_schedules/test_convolutions.py::test_equals_the_oracle[uvv-3-20-20-row",
    "tests/gpu_schedules/test_convolutions.py::test_equals_the_oracle[uvv-3-20-20-shared",
    "tests/gpu_schedules/test_convolutions.py::test_equals_the_oracle[uvw-1-1-33-shared",
    "tests/gpu_schedules/test_convolutions.py::test_equals_the_oracle[uvw-1-6-20-row",
    "tests/gpu_schedules/test_convolutions.py::test_equals_the_oracle[uvw-1-6-20-shared",
    "tests/gpu_schedules/test_convolutions.py::test_equals_the_oracle[uvw-20-1-9-row",
    "tests/gpu_schedules/test_convolutions.py::test_equals_the_oracle[uvw-20-1-9-shared",
    "tests/gpu_schedules/test_convolutions.py::test_equals_the_oracle[uvw-3-4-70-shared",
    "tests/gpu_schedules/test_convolutions.py::test_nodes_in_several_parts[130-shared",
    "tests/gpu_schedules/test_convolutions.py::test_nodes_in_several_parts[40-row",
    "tests/gpu_schedules/test_convolutions.py::test_nodes_in_several_parts[5-shared",
    "tests/gpu_schedules/test_convolutions.py::test_values_computed_inside[False-True",
    "tests/gpu_schedules/test_convolutions.py::test_values_computed_inside[True-False",
    "tests/gpu_schedules/test_ptxas.py::test_no_spills_in_float32[diffdock",
    "tests/gpu_schedules/test_ptxas.py::test_no_spills_in_float32[e3tools",
    "tests/gpu_schedules/test_ptxas.py::test_no_spills_in_float32[mace-medium-edges",
    "tests/gpu_schedules/test_ptxas.py::test_no_spills_in_float32[nequip-benzene",
    "tests/gpu_schedules/test_ptxas.py::test_no_spills_in_float32[nequip-lips",
    "tests/gpu_schedules/test_ptxas.py::test_no_spills_in_float32[sevennet-l3i5-main",
    "tests/gpu_schedules/test_ptxas.py::test_no_spills_in_float32[single-l1",
    "tests/gpu_schedules/test_ptxas.py::test_no_spills_in_float32[tetris",
    "tests/gpu_schedules/test_ptxas.py::test_other_dtypes_compile[diffdock",
    "tests/gpu_schedules/test_ptxas.py::test_other_dtypes_compile[e3tools",
    "tests/gpu_schedules/test_ptxas.py::test_other_dtypes_compile[mace-medium-edges-float16",
    "tests/gpu_schedules/test_ptxas.py::test_other_dtypes_compile[mace-medium-edges-float64",
    "tests/gpu_schedules/test_ptxas.py::test_other_dtypes_compile[mace-medium-rows-float16",
    "tests/gpu_schedules/test_ptxas.py::test_other_dtypes_compile[single-l5-edges-bfloat16",
    "tests/gpu_schedules/test_ptxas.py::test_other_dtypes_compile[single-l5-edges-float16",
    "tests/gpu_schedules/test_ptxas.py::test_other_dtypes_compile[single-l5-edges-float64",
    "tests/gpu_schedules/test_ptxas.py::test_other_dtypes_compile[single-l5-rows-bfloat16",
    "tests/gpu_schedules/test_ptxas.py::test_other_dtypes_compile[single-l5-rows-float16",
    "tests/gpu_schedules/test_races.py::test_a_missing_barrier_is_found[edges-0",
    "tests/gpu_schedules/test_races.py::test_a_missing_barrier_is_found[edges-alone-1-1",
    "tests/gpu_schedules/test_races.py::test_a_missing_barrier_is_found[product-0-1",
    "tests/gpu_schedules/test_rows.py::test_equals_the_oracle[u<vw-5-5-9-shared",
    "tests/gpu_schedules/test_rows.py::test_equals_the_oracle[uuw-7-7-18-shared",
    "tests/gpu_schedules/test_rows.py::test_equals_the_oracle[uvu-3-11-3-none",
    "tests/gpu_schedules/test_rows.py::test_equals_the_oracle[uvu-3-11-3-shared",
    "tests/gpu_schedules/test_rows.py::test_equals_the_oracle[uvuv-17-2-34-none",
    "tests/gpu_schedules/test_rows.py::test_equals_the_oracle[uvuv-17-2-34-shared",
    "tests/gpu_schedules/test_rows.py::test_equals_the_oracle[uvv-1-4-4-none",
    "tests/gpu_schedules/test_rows.py::test_equals_the_oracle[uvv-1-4-4-shared",
    "tests/gpu_schedules/test_rows.py::test_equals_the_oracle[uvw-1-6-20-shared",
    "tests/gpu_schedules/test_rows.py::test_equals_the_oracle[uvw-10-1-20-shared",
    "tests/gpu_schedules/test_rows.py::test_equals_the_oracle[uvw-20-1-9-shared",
    "tests/gpu_schedules/test_rows.py::test_equals_the_oracle[uvw-3-4-70-shared",
    "tests/gpu_schedules/test_rows.py::test_matrices[muls1",
    "tests/gpu_schedules/test_rows.py::test_sizes[300-shared",
    "tests/gpu_schedules/test_runtime.py::test_graphs[two_layers",
    "tests/gpu_schedules/test_runtime.py::test_radial_weights[True",
    "tests/gpu_schedules/test_space.py::test_every_choice_gives_the_oracles_values[conv uvu g",
    "tests/gpu_schedules/test_space.py::test_every_choice_gives_the_oracles_values[conv uvw g",
    "tests/gpu_schedules/test_space.py::test_every_choice_gives_the_oracles_values[linear gradient",
    "tests/gpu_schedules/test_workloads.py::test_edges[diffdock",
    "tests/gpu_schedules/test_workloads.py::test_edges[e3tools",
    "tests/gpu_schedules/test_workloads.py::test_edges[nequip-benzene",
    "tests/gpu_schedules/test_workloads.py::test_edges[nequip-lips",
    "tests/gpu_schedules/test_workloads.py::test_edges[sevennet-l3i5-main",
    "tests/gpu_schedules/test_workloads.py::test_edges[tetris",
    "tests/gpu_schedules/test_workloads.py::test_rows[diffdock",
    "tests/gpu_schedules/test_workloads.py::test_rows[e3tools",
    "tests/gpu_schedules/test_workloads.py::test_rows[nequip-benzene",
    "tests/gpu_schedules/test_workloads.py::test_rows[nequip-lips",
    "tests/gpu_schedules/test_workloads.py::test_rows[sevennet-l3i5-main",
    "tests/gpu_schedules/test_workloads.py::test_rows[tetris",
    "tests/lower/gpu/test_walk.py::test_tables_in_blocks_of_one_thread[3-1-8",
    "tests/lower/test_convolution.py::test_equals_the_oracle[u<vw-5-5-9-row",
    "tests/lower/test_convolution.py::test_equals_the_oracle[uuu-21-21-21-shared",
    "tests/lower/test_convolution.py::test_equals_the_oracle[uvu-3-11-3-shared",
    "tests/lower/test_convolution.py::test_equals_the_oracle[uvu<v-6-6-15-row",
    "tests/lower/test_convolution.py::test_equals_the_oracle[uvuv-17-2-34-row",
    "tests/lower/test_convolution.py::test_equals_the_oracle[uvuv-3-5-15-shared",
    "tests/lower/test_convolution.py::test_equals_the_oracle[uvv-3-20-20-shared",
    "tests/lower/test_convolution.py::test_equals_the_oracle[uvw-1-6-20",
    "tests/lower/test_convolution.py::test_equals_the_oracle[uvw-10-1-20-shared",
    "tests/lower/test_convolution.py::test_equals_the_oracle[uvw-20-1-9",
    "tests/lower/test_convolution.py::test_equals_the_oracle[uvw-3-4-70-row",
    "tests/lower/test_convolution.py::test_inner_kernels_equal_the_oracle[True",
    "tests/lower/test_pair_sums.py::test_gradients_summed_as_pairs[1-7",
    "tests/lower/test_pair_sums.py::test_gradients_summed_as_pairs[13-1]",
    "tests/lower/test_pair_sums.py::test_gradients_summed_as_pairs[13-40",
    "tests/lower/test_pair_sums.py::test_gradients_summed_as_pairs[33-1",
    "tests/lower/test_pair_sums.py::test_gradients_summed_as_pairs[33-7",
    "tests/lower/test_primfunc.py::test_equals_the_oracle[u<vw-5-5-9-shared",
    "tests/lower/test_primfunc.py::test_equals_the_oracle[uuu-21-21-21-shared",
    "tests/lower/test_primfunc.py::test_equals_the_oracle[uvu-3-11-3-shared",
    "tests/lower/test_primfunc.py::test_equals_the_oracle[uvuv-3-5-15-shared",
    "tests/lower/test_primfunc.py::test_equals_the_oracle[uvv-1-4-4-shared",
    "tests/lower/test_primfunc.py::test_equals_the_oracle[uvv-3-20-20-shared",
    "tests/lower/test_primfunc.py::test_equals_the_oracle[uvw-1-1-33-shared",
    "tests/lower/test_primfunc.py::test_equals_the_oracle[uvw-1-6-20-shared",
    "tests/lower/test_primfunc.py::test_equals_the_oracle[uvw-10-1-20-shared",
    "tests/lower/test_primfunc.py::test_equals_the_oracle[uvw-20-1-9-shared",
    "tests/models/test_accelerate.py::test_training_on_forces_in_float32",
    "tests/nn/test_convolution.py::test_equals_e3nn_to_second_derivatives[uvu-32x1e-2x0e+1x1e-False",
    "tests/nn/test_convolution.py::test_equals_e3nn_to_second_derivatives[uvw-3x0e+2x1o-3x1o-False",
    "tests/nn/test_convolution.py::test_third_derivatives_with_everything_inside[False-True",
    "tests/nn/test_convolution.py::test_third_derivatives_with_everything_inside[True-True",
    "tests/nn/test_convolution.py::test_workloads_on_graphs[diffdock",
    "tests/nn/test_convolution.py::test_workloads_on_graphs[nequip-benzene",
    "tests/nn/test_convolution.py::test_workloads_on_graphs[nequip-lips",
    "tests/nn/test_convolution.py::test_workloads_on_graphs[sevennet-l3i5-main",
    "tests/nn/test_convolution.py::test_workloads_on_graphs[tetris",
    "tests/nn/test_graph_trace.py::test_convolutions_ask_for_nothing_else[fuse0",
    "tests/nn/test_linear.py::test_equals_e3nn[internal-ir_mul-torch.float32",
    "tests/nn/test_linear.py::test_feature_dimensions[internal-ir_mul",
    "tests/nn/test_products.py::test_equals_e3nn[ir_mul-FullyConnectedTensorProduct-arguments0",
    "tests/nn/test_spherical_harmonics.py::test_degrees_to_four[True-integral",
    "tests/nn/test_spherical_harmonics.py::test_one_degree_alone[11",
    "tests/nn/test_spherical_harmonics.py::test_one_degree_alone[5",
    "tests/nn/test_spherical_harmonics.py::test_one_degree_alone[8",
    "tests/nn/test_tensor_product.py::test_every_mode[internal-ir_mul-torch.float32",
    "tests/nn/test_tensor_product.py::test_every_mode[row-ir_mul-torch.float32",
    "tests/nn/test_tensor_product.py::test_every_mode[shared-ir_mul-torch.float32",
    "tests/nn/test_tensor_square.py::test_equals_e3nn[ir_mul-arguments4",
    "tests/nn/test_tensor_square.py::test_equals_e3nn[mul_ir-arguments2",
    "tests/relax/test_operations.py::test_values_and_gradients_are_those_of_torch[products",
    "tests/relax/test_program.py::test_compiled_in_another_process_a_program_has_the_same_bytes[float32",
    "tests/runtime/rules/test_convolution.py::test_channelwise[fuse1-ir_mul",
    "tests/runtime/rules/test_convolution.py::test_channelwise[fuse3-ir_mul",
    "tests/runtime/rules/test_convolution.py::test_fully_connected[fuse0-mlp",
    "tests/runtime/rules/test_convolution.py::test_modes[uvv-shared",
    "tests/schedule/test_space.py::test_every_choice_gives_the_oracles_values[conv uvu gradient 0",
    "tests/schedule/test_space.py::test_every_choice_gives_the_oracles_values[conv uvu second 0",
    "tests/schedule/test_space.py::test_every_choice_gives_the_oracles_values[conv uvw",
    "tests/schedule/test_space.py::test_every_choice_gives_the_oracles_values[linear gradient",
    "tests/schedule/test_space.py::test_every_choice_gives_the_oracles_values[uvu loop gradient",
    "tests/schedule/test_space.py::test_every_choice_gives_the_oracles_values[uvw gradient",
    "tests/test_compiler.py::test_fused_artifact_is_the_unfused_graph[True",
    "tests/test_compiler.py::test_tune_then_compile",
    "tests/tuning/test_helper.py::test_a_candidate_that_crashes_is_lost_and_the_next_is_measured",
    "tests/tuning/test_pool.py::test_results_come_in_order",
    "tests/tuning/test_search.py::test_a_finalist_that_crashes_in_the_race_takes_no_part",
    "tests/tuning/test_search.py::test_a_record_that_compiling_finds_is_raced_before_another_takes_its_place",
    "tests/tuning/test_search.py::test_a_rule_that_fails_does_not_keep_others_from_being_tuned",
    "tests/tuning/test_search.py::test_a_run_goes_on_where_it_was",
    "tests/tuning/test_search.py::test_a_winner_takes_part_in_every_later_race",
    "tests/tuning/test_search.py::test_times_under_other_conditions_are_not_compared",
    "tests/tuning/test_search.py::test_trials_that_no_race_has_seen_are_raced",
    "tests/tuning/test_search.py::test_what_was_measured_is_written_before_the_next_is",
    "tests/tuning/test_server.py::test_bad_candidates_do_not_end_a_worker",
    "tests/tuning/test_server.py::test_one_worker_is_killed_and_one_hangs",
    "tests/tuning/test_server.py::test_servers_end_when_they_are_told_to[1]",
    "tests/tuning/test_server.py::test_workers_join_and_leave",
    "tests/tuning/test_server.py::test_workers_of_two_kinds_with_one_tracker",
    "tests/tuning/test_server.py::test_workers_that_hang_are_no_fault_of_candidates",
)
"""Starts of tests that take long, each with a quicker sister; `make test-all` runs them too."""

_made_here: list[str] = []

torch.set_num_threads(1)  # pytest-xdist uses the cores

hypothesis.settings.register_profile(
    "tvm_equi", deadline=None, derandomize=SEED not in os.environ, max_examples=20, database=None
)
hypothesis.settings.load_profile("tvm_equi")


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the slow ones."""
    for item in items:
        if item.nodeid.startswith(SLOW):
            item.add_marker("slow")


def _seed(*names: object) -> None:
    torch.manual_seed(zlib.crc32(repr((os.environ.get(SEED), *names)).encode()))


# Random inputs must not depend on the tests that one of several workers happened to run before.
@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> None:
    """Seeds by the fixture's name."""
    _seed(fixturedef.baseid, fixturedef.argname, getattr(request, "param_index", None))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Seeds by the test's name."""
    _seed(item.nodeid)


def pytest_report_header() -> list[str]:
    """Says with which seed the inputs are drawn, so that a failure can be had again."""
    return [f"{SEED}={os.environ[SEED]}"] if SEED in os.environ else []


def pytest_configure(config: pytest.Config) -> None:
    """Makes a cache that workers inherit; one that is set already is kept, for warm runs."""
    if DATA not in os.environ:  # the user's own tuned records must not decide what is tested
        _made_here.append(tempfile.mkdtemp(prefix="tvm_equi-tests-"))
        os.environ[DATA] = _made_here[-1]
    if CACHE not in os.environ:
        _made_here.append(tempfile.mkdtemp(prefix="tvm_equi-tests-"))
        os.environ[CACHE] = _made_here[-1]


def pytest_unconfigure(config: pytest.Config) -> None:
    """Removes the cache that was made."""
    for folder in _made_here:
        shutil.rmtree(folder, ignore_errors=True)
