"""The commands about tuning: tune, tracker, worker, schedules.

In: a command line. Out: databases of records, and what is known of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tvm_equi.cli.source import Source, check_dtype, read_source, readable_errors
from tvm_equi.errors import ArgumentError

schedules = typer.Typer(
    help="Look at databases of tuned records, and put them together.", no_args_is_help=True
)

Folder = Annotated[
    list[Path] | None,
    typer.Argument(help="Folders of databases; by default all that compiling searches."),
]
Host = Annotated[
    str,
    typer.Option(help="Address to listen on. Whoever reaches it can run code on this machine."),
]
Address = Annotated[str, typer.Option(help="HOST:PORT of the tracker.")]


def register(app: typer.Typer) -> None:
    """Adds the commands to the main one.

    Args:
        app: the main command.
    """
    for command in (tune, tracker, worker):
        app.command()(readable_errors(command))
    app.add_typer(schedules, name="schedules")


def tune(
    source: Source,
    target: Annotated[
        str,
        typer.Option(
            help="host, x86-64-v2 to x86-64-v4, cuda (the GPU here), or one such as sm_90."
        ),
    ] = "host",
    trials: Annotated[int, typer.Option(help="Candidates to measure in all.", min=1)] = 64,
    db: Annotated[Path | None, typer.Option(help="Folder of databases to go on with.")] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float32 or float64; the graph's own by default.")
    ] = None,
    derivatives: Annotated[int, typer.Option(help="Highest order to tune for.", min=0)] = 2,
    rows: Annotated[
        int | None, typer.Option(help="Rows, or edges, to time at; 48 MiB of them.", min=1)
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Measure no more candidates after so long.", min=0)
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of kernels.", min=1)] = 1,
    tracker: Annotated[
        str | None, typer.Option(help="HOST:PORT of a tracker whose workers measure.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Key of the workers; by default the target's family.")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds for one measurement.", min=1)] = 120.0,
) -> None:
    """Search for faster schedules of a graph's kernels; stop and start again as you like."""
    import tvm_equi
    from tvm_equi.compiler import tuning_target
    from tvm_equi.schedule.records import VARIABLE, search_path, user_folder
    from tvm_equi.schedule.targets import family
    from tvm_equi.tuning import report
    from tvm_equi.tuning.pool import Options
    from tvm_equi.tuning.rpc import Tracker, parse_address

    if dtype is not None:
        check_dtype(dtype)
    target = tuning_target(target, has_workers=tracker is not None)
    found = None
    if tracker is not None:
        address = parse_address(tracker, "tvm-equi tune: --tracker")
        found = Tracker(*address, key or family(target))
    console = Console()
    folder = (db or user_folder()).absolute()
    with report.progress(console) as watch:
        outcomes = tvm_equi.tune(
            read_source(source),
            target,
            trials=trials,
            db=folder,
            dtype=dtype,  # type: ignore[arg-type]
            derivatives=derivatives,
            rows=rows,
            seconds=None if minutes is None else 60 * minutes,
            options=Options(threads=threads, timeout=timeout, tracker=found),
            watch=watch,
        )
    console.print(report.table(outcomes))
    for error in dict.fromkeys(text for each in outcomes for text in each.errors):
        console.print(f"a candidate failed: {error}", markup=False, highlight=False)
    console.print(f"geometric mean of gains: {report.mean_gain(outcomes):.3f}")
    picture = folder / family(target) / "trials" / "best_so_far.png"
    if report.plot(outcomes, picture):
        console.print(f"plot: {picture}", soft_wrap=True)
    console.print(f"database: {folder}", soft_wrap=True)
    if folder not in [path.absolute() for path in search_path()]:
        console.print(f"to compile with it: export {VARIABLE}={folder}", soft_wrap=True)


def tracker(
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(help="To listen on.", min=1, max=65535)] = 9190,
) -> None:
    """Run a tracker, with which workers register; Ctrl-C ends it."""
    from tvm_equi.tuning.server import serve_tracker

    typer.echo(f"tracker at {host}:{port}; workers: tvm-equi worker --tracker {host}:{port}")
    serve_tracker(host, port)


def worker(
    tracker: Address = "127.0.0.1:9190",
    target: Annotated[
        str, typer.Option(help="host, to measure on this CPU, or cuda, on this GPU.")
    ] = "host",
    key: Annotated[
        str | None, typer.Option(help="What tuning asks for; by default the family of the target.")
    ] = None,
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(help="First port to try.", min=1, max=65535)] = 9090,
    threads: Annotated[int, typer.Option(help="Threads of kernels.", min=1)] = 1,
) -> None:
    """Measure candidates for a tracker; Ctrl-C ends it."""
    from tvm_equi.schedule.targets import CUDA, HOST, host_family
    from tvm_equi.tuning.rpc import Tracker, is_loopback, parse_address
    from tvm_equi.tuning.server import serve_worker

    if target not in (HOST, CUDA):
        raise ArgumentError(f"tvm-equi worker: --target: expected host or cuda, got {target!r}")
    address = parse_address(tracker, "tvm-equi worker: --tracker")
    if is_loopback(host) and not is_loopback(address[0]):
        raise ArgumentError(
            f"tvm-equi worker: --host: expected an address by which {address[0]} reaches this "
            f"machine, got {host}; whoever reaches it can run code here"
        )
    own = _gpu() if target == CUDA else host_family()
    if not key and not own:
        raise ArgumentError("tvm-equi worker: --key: expected one, since this CPU has no level")
    found = Tracker(*address, key or own)
    typer.echo(f"worker for {found.key!r} at {host}, tracker {found.host}:{found.port}")
    serve_worker(found, host, port, threads, "cuda" if target == CUDA else "cpu")


def _gpu() -> str:
    """The architecture of this machine's GPU."""
    from tvm_equi.runtime.devices import local_architectures

    return local_architectures()[0]


@schedules.command(name="list")
@readable_errors
def list_command(folders: Folder = None) -> None:
    """List databases: families of targets, kernels, gains."""
    from tvm_equi.schedule import databases, records

    shown = Table()
    for header in ("database", "family", "kernels", "tuned", "geometric mean of gains"):
        shown.add_column(header, overflow="fold")
    for folder in folders or records.search_path():
        for family in records.families(folder):
            gains = [entry.gain for entry in databases.entries(folder / family).values()]
            mean = databases.geometric_mean(gains)
            tuned = sum(gain > 1 for gain in gains)
            shown.add_row(str(folder), family, str(len(gains)), str(tuned), f"{mean:.3f}")
    Console().print(shown)


@schedules.command()
@readable_errors
def show(
    folder: Annotated[Path, typer.Argument(help="A folder of databases.")],
    family: Annotated[str | None, typer.Option(help="Of targets; by default all.")] = None,
) -> None:
    """Show the record of each kernel: what it decides, and its gain over the rule."""
    from tvm_equi.schedule import databases

    shown = Table(title="gain: the rule's time over the record's, raced side by side")
    for header in ("family", "kernel", "dtype", "rows", "ms", "gain", "decisions"):
        shown.add_column(header, overflow="fold")
    for name in _families(folder, family):
        for entry in databases.entries(folder / name).values():
            best = entry.best
            decisions = ", ".join(f"{key}={value}" for key, value in best.point.items())
            shown.add_row(
                name,
                best.structure.kernel[:12],
                best.structure.dtype,
                str(best.conditions.get("rows", "")),
                f"{1e3 * best.seconds:.3f}",
                f"{entry.gain:.3f}",
                escape(decisions if entry.gain > 1 else "the rule's"),
            )
    Console().print(shown)


@schedules.command()
@readable_errors
def merge(
    sources: Annotated[list[Path], typer.Argument(help="Folders of databases.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder that is added to.")],
) -> None:
    """Merge databases; of two records for a kernel the one with the larger gain stays."""
    from tvm_equi.schedule import databases

    for family in sorted({name for source in sources for name in _families(source, None)}):
        count = databases.merge([source / family for source in sources], out / family)
        typer.echo(f"{out / family}: {count} kernels")


@schedules.command()
@readable_errors
def verify(
    folder: Annotated[Path, typer.Argument(help="A folder of databases.")],
    family: Annotated[str | None, typer.Option(help="Of targets; by default all.")] = None,
) -> None:
    """Build every record's kernel, and compare its values with the oracle where it runs here."""
    from tvm_equi.tuning.verify import verify as check

    failed = built = 0
    for name in _families(folder, family):
        for verdict in check(folder, name):
            structure = verdict.record.structure
            state = verdict.problem or ("right" if verdict.is_run else "builds; does not run here")
            typer.echo(f"{name} {structure.kernel[:12]} {structure.dtype}: {state}")
            failed += bool(verdict.problem)
            built += 1
    typer.echo(f"{built} records, {failed} with problems")
    if failed:
        raise typer.Exit(1)


def _families(folder: Path, family: str | None) -> list[str]:
    """Families of a folder.

    Raises:
        ArgumentError: it holds none, or not the one asked for.
    """
    from tvm_equi.schedule import records

    found = records.families(folder)
    if not found or (family is not None and family not in found):
        raise ArgumentError(
            f"tvm-equi schedules: {folder}: expected databases of {family or 'some family'}, "
            f"got {', '.join(found) or 'none'}"
        )
    return found if family is None else [family]
