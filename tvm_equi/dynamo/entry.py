"""The backend of torch.compile: capture, fusion, and who runs the rest.

In: a graph that dynamo made, and options. Out: a function that computes it: e3nn's modules and the
sums over edges around them on compiled kernels, everything else by eager torch or by inductor.
Refused: options that are not known.

Inductor differentiates graphs ahead of time and once: the gradient of its gradient, which training
on forces takes, does not exist. So by default the rest of a graph that may be differentiated runs
eagerly, under torch's own autograd, and inductor gets the graphs that are traced while gradients
are off. `options={"rest": "inductor"}` is for training on energies alone.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import fx

from tvm_equi.dynamo.capture import BACKEND, install, take_reasons
from tvm_equi.dynamo.frames import keep_out
from tvm_equi.dynamo.fusion import Fusion, fuse
from tvm_equi.dynamo.operations import Blocks, call_operation, operation
from tvm_equi.dynamo.patterns import is_run
from tvm_equi.dynamo.report import Report, counted, tell
from tvm_equi.errors import ArgumentError, ArgumentTypeError, unknown_choice
from tvm_equi.runtime.torch_op import run

Rest = Literal["eager", "inductor"]
RESTS: tuple[Rest, ...] = ("eager", "inductor")
OPTIONS = ("rest",)
WHERE = "torch.compile(backend='tvm_equi')"


def backend(
    module: fx.GraphModule,
    inputs: Sequence[Any],
    *,
    options: Mapping[str, Any] | None = None,
    mode: str | None = None,
) -> Callable[..., Any]:
    """The function that runs a graph: what `torch.compile(model, backend="tvm_equi")` calls.

    Args:
        module: the graph, by dynamo.
        inputs: its inputs, without data.
        options: {"rest": "eager"} or {"rest": "inductor"}: what runs other operations than ours; by
            default eager torch where gradients are on, and inductor where they are off.
        mode: of `torch.compile`; only the default one.

    Raises:
        ArgumentError: an unknown option or mode.
        ArgumentTypeError: options that are no mapping.
    """
    rest = parse_options(options, mode)
    lowered = lower(module, rest)
    if rest == "eager":
        return lowered.forward
    from torch._inductor.compile_fx import compile_fx

    compiled: Any = compile_fx(lowered, list(inputs))
    return compiled  # type: ignore[no-any-return]


def parse_options(options: Any, mode: str | None) -> Rest:
    """Who runs the rest, by the options of `torch.compile` and whether gradients are on.

    Args:
        options: what the user gave, or None.
        mode: what the user gave, or None.

    Raises:
        ArgumentError: an unknown option or mode.
        ArgumentTypeError: options that are no mapping.
    """
    if mode not in (None, "default"):
        raise ArgumentError(f"{WHERE}: mode: expected None or 'default', got {mode!r}")
    if options is None:
        options = {}
    if not isinstance(options, Mapping):
        raise ArgumentTypeError(f"{WHERE}: options: expected a dict, got {type(options).__name__}")
    for name in options:
        if name not in OPTIONS:
            raise ArgumentError(unknown_choice(WHERE, "options", OPTIONS, name))
    rest = options.get("rest")
    if rest is None:
        return "eager" if torch.is_grad_enabled() else "inductor"
    if rest not in RESTS:
        raise ArgumentError(unknown_choice(WHERE, "options['rest']", RESTS, rest))
    found: Rest = rest
    return found


def lower(module: fx.GraphModule, rest: Rest) -> fx.GraphModule:
    """The graph with fused convolutions, and modules in the place of captured operations.

    Args:
        module: by dynamo; it is changed.
        rest: for the report.
    """
    fusion = fuse(module)
    captured = [_kind(operation(key)) for key in _captured(module)]
    left = _left(module)
    for node in list(module.graph.nodes):
        if node.target is call_operation:
            _use_module(module, node)
        elif is_run(node):  # the function saves the way through torch's dispatcher
            node.target, node.args = run, (node.args[1], node.args[0])
    module.graph.lint()
    module.recompile()
    tell(_report(module, fusion, captured, left, rest))
    return module


def _captured(module: fx.GraphModule) -> list[int]:
    """The numbers of the operations that a graph calls."""
    return [node.args[0] for node in module.graph.nodes if node.target is call_operation]


def _kind(module: torch.nn.Module) -> str:
    """The name of e3nn's class that a captured module stands for."""
    return "Extract" if isinstance(module, Blocks) else type(module).__name__


def _use_module(module: fx.GraphModule, node: fx.Node) -> None:
    """Makes a node that names an operation one that calls its module, which the graph then owns."""
    key, *operands = node.args
    found = operation(key)  # type: ignore[arg-type]
    name = f"tvm_equi_{_kind(found).lower()}_{key}"
    if not hasattr(module, name):
        module.add_submodule(name, found)
    node.op, node.target, node.args = "call_module", name, tuple(operands)


def _left(module: fx.GraphModule) -> tuple[tuple[str, int], ...]:
    """Classes of e3nn and the number of their modules that have operations in a graph."""
    found = {}
    for node in module.graph.nodes:
        if node.op not in ("call_function", "call_method"):
            continue
        if node.target in (call_operation, operator.getitem):
            continue
        stack = node.meta.get("nn_module_stack") or {}
        for path, (_, kind) in reversed(stack.items()):
            if str(getattr(kind, "__module__", "")).startswith("e3nn."):
                found[path] = kind.__name__
                break
    return counted(list(found.values()))


def _report(
    module: fx.GraphModule,
    fusion: Fusion,
    captured: list[str],
    left: tuple[tuple[str, int], ...],
    rest: Rest,
) -> Report:
    """What became of a graph."""
    reason = getattr(module, "compile_subgraph_reason", None)
    graph_break = reason.reason if reason is not None and reason.graph_break else ""
    graph_break = graph_break.partition("\n")[0]  # the rest is dynamo's advice; TORCH_LOGS shows it
    return Report(
        captured=counted(captured),
        fused=tuple(fusion.fused),
        num_sorted=fusion.num_sorted,
        left=left,
        reasons=tuple(dict.fromkeys([*take_reasons(), *fusion.left])),
        rest=rest,
        graph_break=graph_break,
    )


setattr(backend, BACKEND, True)
install()
keep_out()
