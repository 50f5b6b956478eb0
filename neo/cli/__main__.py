"""The entry point: a group whose commands are imported when they are called, and one place where errors end."""

from __future__ import annotations

import importlib
import sys
import traceback
from typing import TYPE_CHECKING, Any

import click

from neo import __version__
from neo.cli.output import shortened, to_json, write_any_text

if TYPE_CHECKING:
    from neo.errors import NeoError

# command -> (module:attribute, one line of help); the help stands here so that `neo --help` imports none of them
COMMANDS = {
    "compile": ("neo.cli.compile:compile_command", "Compile a trained model into signed bundles."),
    "predict": ("neo.cli.predict:predict_command", "Run a bundle on arrays from an .npz or .npy file."),
    "evaluate": ("neo.cli.evaluate:evaluate_command", "Judge a bundle by data with known answers."),
    "benchmark": ("neo.cli.benchmark:benchmark_command", "Measure a bundle's latency, load time and memory."),
    "inspect": ("neo.cli.inspect:inspect_command", "Show what is in a bundle, or list the store."),
    "targets": ("neo.cli.targets:targets_command", "List the targets, or show one."),
    "tune": ("neo.cli.tune:tune_command", "Show, export and import what `neo compile --tune` measured."),
    "push": ("neo.cli.push:push_command", "Send a bundle to devices and wait until it is live."),
    "release": ("neo.cli.release:release_command", "Add a bundle to the releases that a fleet accepts."),
    "status": ("neo.cli.status:status_command", "Show the devices, what is live and what is wrong."),
    "fleet": ("neo.cli.fleet:fleet_command", "Keep the roster of a fleet."),
    "broker": ("neo.cli.broker:broker_command", "Run the embedded MQTT broker."),
    "keys": ("neo.cli.keys:keys_command", "Make and show signing keys; sign bundles."),
    "demo": ("neo.cli.demo:demo_command", "Train, compile, ship and predict on this machine."),
    "doctor": ("neo.cli.doctor:doctor_command", "Check that everything neo needs is in place."),
}

INTERNAL_ERROR = 70
INTERRUPTED = 130


class _LazyGroup(click.Group):
    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, attribute = COMMANDS[name][0].split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: neo compile model.pt2 --target raspberry-pi-4, then: neo push model --to DEVICE",
)
@click.version_option(__version__, prog_name="neo")
@click.option("--debug", is_flag=True, help="Show the traceback of an error; keep the graphs of a compile.")
def neo(debug: bool) -> None:
    """Compile trained models and ship them to edge devices over MQTT."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit. A NeoError becomes a message and its exit code; --debug shows the traceback."""
    args = list(sys.argv[1:] if arguments is None else arguments)
    write_any_text()
    # --debug and --json work wherever they stand
    debug = "--debug" in args
    args = [*["--debug"] * debug, *(arg for arg in args if arg != "--debug")]
    sys.exit(_run(args, debug=debug, as_json="--json" in args))


def _run(args: list[str], *, debug: bool, as_json: bool) -> int:
    from neo.errors import NeoError

    try:
        code = neo.main(args=args, prog_name="neo", standalone_mode=False)
    except click.ClickException as error:
        if as_json:
            _emit_error("UsageError", shortened(error.format_message()), error.exit_code)
        _show_usage(error)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except NeoError as error:
        _show(error, debug=debug, as_json=as_json)
        return error.exit_code
    except BrokenPipeError:  # `neo ... | head`: the reader has seen enough
        sys.stderr.close()
        return 0
    except Exception as error:  # noqa: BLE001  the last line of defence: a defect of ours, said as one
        if debug:
            traceback.print_exc()
        if as_json:
            _emit_error(type(error).__name__, str(error), INTERNAL_ERROR)
        click.echo(
            f"internal error: {type(error).__name__}: {shortened(str(error))}\n"
            "  this is a defect in neo-edge; run the command with --debug and report what it prints",
            err=True,
        )
        return INTERNAL_ERROR
    return code if isinstance(code, int) else 0


def _show_usage(error: click.ClickException) -> None:
    context = getattr(error, "ctx", None)
    if context is not None:
        click.echo(f"{context.get_usage()}\nTry '{context.command_path} --help' for help.\n", err=True)
    click.echo(f"Error: {shortened(error.format_message())}", err=True)


def _show(error: NeoError, *, debug: bool, as_json: bool) -> None:
    if debug:
        traceback.print_exc()
        _show_remote_traceback(error.details)
    if as_json:
        click.echo(to_json({**error.to_json(), "exit_code": error.exit_code}))
    click.echo(click.style("error: ", fg="red", bold=True) + shortened(error.message), err=True)
    if error.hint:
        click.echo(click.style("  try: ", fg="cyan") + shortened(error.hint), err=True)


def _emit_error(kind: str, message: str, exit_code: int) -> None:
    """As ``NeoError.to_json`` has it, for what is none: --json promises an object on stdout."""
    click.echo(to_json({"error": kind, "message": message, "hint": "", "details": {}, "exit_code": exit_code}))


def _show_remote_traceback(details: dict[str, Any]) -> None:
    if "traceback" in details:  # of the sandboxed process
        click.echo(details["traceback"], err=True)


if __name__ == "__main__":
    main()
