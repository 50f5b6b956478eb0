"""``neo-agent``: the real clock, link and store are chosen here."""

from __future__ import annotations

import logging
import queue
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

import neo
from edge_agent.core.agent import SUBSCRIBED, Agent, Identity
from edge_agent.core.config import AgentConfig, make_config
from edge_agent.core.device_key import open_device_key
from edge_agent.core.events import AgentEvent, Stop, WorkerExited
from edge_agent.core.logs import JsonLines, log_to_stderr
from edge_agent.core.presence import offline_payload
from edge_agent.core.reports import Reporter
from edge_agent.core.state_dir import locked, noted
from edge_agent.core.trust import TrustKeeper, read_given
from edge_agent.install.deployment import Deployment
from edge_agent.install.fetch import FetchRules
from edge_agent.install.slots import Slots
from edge_agent.install.sources import MqttSources
from edge_agent.install.starter import ModelStarter
from edge_agent.serve.http import HttpServer
from edge_agent.serve.infer import Inference
from edge_agent.tasks import Work
from edge_agent.worker.models import Serving
from neo.contract.device import Capabilities
from neo.contract.topics import Topics
from neo.errors import NeoError
from neo.link import Link
from neo.runtime import engine_versions
from neo.runtime.host import read_host
from neo.store import Store
from neo.supervision import reporting_deaths

logger = logging.getLogger("edge_agent")


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: neo-agent --broker mqtt://broker:1883 --device-id camera-1 --state-dir /var/lib/neo "
    "--trust operator.key.pub",
)
@click.option("--broker", metavar="URL", help="MQTT broker: mqtt://[USER:PASSWORD@]HOST[:PORT], mqtts:// for TLS.")
@click.option("--device-id", metavar="ID", help="This device's name in the fleet; no other device has it.")
@click.option("--state-dir", metavar="DIR", help="Where models and state are kept.")
@click.option(
    "--trust",
    metavar="FILE",
    multiple=True,
    help="The operator's public key (.pub; may be repeated), or a fleet's root.json.",
)
@click.option(
    "--listen", metavar="PLACE", help="Where to answer predictions: HOST:PORT or unix:/PATH. [127.0.0.1:8080]"
)
@click.option("--fleet", metavar="NAME", help="The fleet this device belongs to. [default]")
@click.option("--threads", type=int, metavar="N", help="Threads of the engine. [every core]")
@click.option("--tls-ca", metavar="FILE", help="Authorities trusted for mqtts://. [the system's]")
@click.option("--tls-cert", metavar="FILE", help="This device's certificate.")
@click.option("--tls-key", metavar="FILE", help="Its private key.")
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="TOML with any of these options.")
@click.option("--json", is_flag=True, default=None, help="Log JSON objects, one a line.")
@click.option("--debug", is_flag=True, default=None, help="Log more, and show tracebacks.")
@click.version_option(neo.__version__)
def command(config: Path | None, **options: Any) -> None:
    """Run this device's agent: receive signed models over MQTT and answer predictions."""
    given = {key.replace("_", "-"): value for key, value in options.items() if value not in (None, ())}
    settings = make_config(given, config)
    log_to_stderr(as_json=settings.json, debug=settings.debug)
    with locked(settings.state_dir):
        run_agent(settings)


def run_agent(config: AgentConfig) -> None:
    """Until SIGTERM or SIGINT. Raises NeoError for what keeps the agent from running."""
    given = read_given(config.trust)
    inbox: queue.SimpleQueue[AgentEvent] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: inbox.put(Stop(signal.Signals(received).name)))
    with reporting_deaths(inbox.put):
        work = Work.reporting_to(inbox)
        serving = Serving(stop=lambda worker: work.models.submit(worker.stop))
        store = Store(config.state_dir / "store")
        slots = Slots(config.state_dir, store)
        server = HttpServer(Inference(serving), config.listen)
        try:
            with noted(config.state_dir, server.url, config.device_id):
                logger.info("answering predictions at %s", server.url)
                identity = Identity(config.device_id, secrets.token_hex(8), Topics(config.fleet), server.url)
                link = _make_link(config, identity, inbox)
                capabilities = _capabilities(config)
                set_topic = identity.topics.tuf("set")
                authority = TrustKeeper(
                    given,
                    config.state_dir,
                    config.fleet,
                    work.disk,
                    lambda wanted: link.watch(set_topic) if wanted else link.unwatch(set_topic),
                )
                deployment = Deployment(
                    config.state_dir,
                    store=store,
                    starter=ModelStarter(
                        slots, authority, config.threads, lambda worker: inbox.put(WorkerExited(worker))
                    ),
                    serving=serving,
                    rules=FetchRules(authority, capabilities, _make_room(config.state_dir, slots)),
                    work=work,
                    sources=MqttSources(link, identity.topics),
                )
                agent = Agent(
                    identity,
                    link=link,
                    inbox=inbox,
                    deployment=deployment,
                    capabilities=capabilities,
                    reporter=Reporter(config.fleet, config.device_id, open_device_key(config.state_dir)),
                    trust=authority,
                )
                link.watch(identity.topics.tuf("timestamp"))
                link.start()
                try:
                    agent.run()
                finally:
                    link.stop()
        finally:
            server.stop()


def main() -> None:
    try:
        command(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    except NeoError as error:
        logging.getLogger().debug("stopped by an error", exc_info=error)
        _show(error)
        sys.exit(error.exit_code)


def _make_link(config: AgentConfig, identity: Identity, inbox: queue.SimpleQueue[Any]) -> Link:
    return Link(
        config.broker,
        client_id=f"neo-agent-{identity.device_id}-{identity.session}",
        subscriptions=[identity.topic(leaf) for leaf in SUBSCRIBED],
        watched=[identity.topics.chunk(identity.device_id)],
        inbox=inbox,
        will=(identity.topic("presence"), offline_payload(identity.session, time.time())),
        tls=config.tls,
    )


def _capabilities(config: AgentConfig) -> Callable[[], Capabilities]:
    host, engines = read_host(), engine_versions()

    def read() -> Capabilities:
        return Capabilities(
            device_id=config.device_id,
            agent_version=neo.__version__,
            arch=host.arch,
            os=host.os,
            glibc=host.glibc,
            features=host.features,
            cores=host.cores,
            memory_bytes=host.memory_bytes,
            storage_bytes=shutil.disk_usage(config.state_dir).free,
            engines=engines,
        )

    return read


def _make_room(state_dir: Path, slots: Slots) -> Callable[[str], int]:
    def drop_the_rest(digest: str) -> int:
        slots.remove_all_but([slots.current, slots.previous, digest])
        return shutil.disk_usage(state_dir).free

    return drop_the_rest


def _show(error: NeoError) -> None:
    if any(isinstance(handler.formatter, JsonLines) for handler in logging.getLogger().handlers):
        logger.error("%s", error.message, extra={"fields": {**error.to_json(), "exit_code": error.exit_code}})
    else:
        click.echo(f"error: {error.message}", err=True)
        if error.hint:
            click.echo(f"hint: {error.hint}", err=True)


if __name__ == "__main__":
    main()
