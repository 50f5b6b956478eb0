"""Configuration for brokers of others: settings that hold a fleet of thousands, and access rules for each device.

A device's user name is its device id. It may speak for itself alone; what it is told it may read, and what all devices
share. mosquitto's files are tested as they stand, the others follow their documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from neo.contract.topics import Topics

OPERATOR = "operator"
#: under the topic root of a fleet
DEVICE_TREE = "device"
DEVICE_WRITES = ("source/+/want",)
DEVICE_READS = ("blob/#", "tuf/#")
VERSIONS = ("v1", "v2")


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """One file of a broker's configuration, or commands for it."""

    #: where it belongs
    path: str
    text: str


def render(kind: str, fleet: str) -> tuple[ConfigFile, ...]:
    """The files for one of KINDS. Raises ContractError for a fleet that may not stand in a topic."""
    return KINDS[kind](Topics(fleet).fleet)


def _mosquitto(fleet: str) -> tuple[ConfigFile, ...]:
    settings = """\
# /etc/mosquitto/conf.d/neo.conf, for mosquitto 2.0; users with: mosquitto_passwd -c /etc/mosquitto/users operator
per_listener_settings false
listener 8883
certfile /etc/mosquitto/cert.pem
keyfile /etc/mosquitto/key.pem
allow_anonymous false
password_file /etc/mosquitto/users
acl_file /etc/mosquitto/acl
persistence true
persistence_location /var/lib/mosquitto/
# Every save writes the whole database, so a save for each change makes thousands of devices slow (9,000 retained
# messages took 72 s). A power cut loses what was retained in the last 30 s at most: devices say it again, and
# `neo status` shows what the broker has lost.
autosave_on_changes false
autosave_interval 30
# a chunk has 98,349 bytes, and nothing here sends more than 128,000
message_size_limit 262144
# for each client; above the number of retained messages, or a list of the fleet is cut. 0 is no "no limit" in 2.0.16
max_queued_messages 1000000
# an agent that is gone for an hour is gone: its session is clean, so this costs nothing but old clients' queues
persistent_client_expiration 1h
"""
    lines = [f"user {OPERATOR}"]
    lines += [f"topic readwrite neo/{version}/{fleet}/#" for version in VERSIONS]
    lines += ["topic read $SYS/broker/#", "", "# every other user is a device, by its id"]
    for version in VERSIONS:
        lines.append(f"pattern readwrite neo/{version}/{fleet}/{DEVICE_TREE}/%u/#")
        lines += [f"pattern write neo/{version}/{fleet}/{tree}" for tree in DEVICE_WRITES]
    lines += [f"pattern read neo/v2/{fleet}/{tree}" for tree in DEVICE_READS]
    return (
        ConfigFile("/etc/mosquitto/conf.d/neo.conf", settings),
        ConfigFile("/etc/mosquitto/acl", "\n".join([*lines, ""])),
    )


def _emqx(fleet: str) -> tuple[ConfigFile, ...]:
    settings = """\
# etc/emqx.conf, for EMQX 5
mqtt { max_packet_size = 256KB, retain_available = true, wildcard_subscription = true }
mqtt { max_mqueue_len = infinity }
# in memory unless the storage is "disc"
retainer { enable = true, max_payload_size = 256KB, backend { type = built_in_database, storage_type = disc } }
listeners.ssl.default {
  bind = "0.0.0.0:8883"
  ssl_options { certfile = "etc/certs/cert.pem", keyfile = "etc/certs/key.pem" }
}
authentication = [ { mechanism = password_based, backend = built_in_database, user_id_type = username } ]
authorization {
  no_match = deny
  deny_action = disconnect
  sources = [ { type = file, enable = true, path = "etc/neo-acl.conf" } ]
}
"""
    own = [f'"neo/{version}/{fleet}/{DEVICE_TREE}/${{username}}/#"' for version in VERSIONS]
    writes = [f'"neo/{version}/{fleet}/{tree}"' for version in VERSIONS for tree in DEVICE_WRITES]
    reads = [f'"neo/v2/{fleet}/{tree}"' for tree in DEVICE_READS]
    operator = [f'"neo/{version}/{fleet}/#"' for version in VERSIONS]
    rules = [
        f'{{allow, {{user, "{OPERATOR}"}}, all, [{", ".join(operator)}]}}.',
        f"{{allow, all, all, [{', '.join(own)}]}}.",
        f"{{allow, all, publish, [{', '.join(writes)}]}}.",
        f"{{allow, all, subscribe, [{', '.join(reads)}]}}.",
        "{deny, all}.",
    ]
    return ConfigFile("etc/emqx.conf", settings), ConfigFile("etc/neo-acl.conf", "\n".join([*rules, ""]))


def _rabbitmq(fleet: str) -> tuple[ConfigFile, ...]:
    settings = """\
# /etc/rabbitmq/rabbitmq.conf, after: rabbitmq-plugins enable rabbitmq_mqtt
mqtt.listeners.tcp = none
mqtt.listeners.ssl.default = 8883
ssl_options.certfile = /etc/rabbitmq/cert.pem
ssl_options.keyfile = /etc/rabbitmq/key.pem
mqtt.allow_anonymous = false
mqtt.exchange = amq.topic
mqtt.retained_message_store = rabbit_mqtt_retained_msg_store_dets
mqtt.retained_message_store_dets_sync_interval = 1000
"""
    # topics become routing keys with dots for slashes
    name = fleet.replace(".", r"\.")
    own = rf"{DEVICE_TREE}\.{{username}}\..*"
    writes = rf"^neo\.v[12]\.{name}\.({own}|source\.[^.]+\.want)$"
    reads = rf"^neo\.v[12]\.{name}\.({own}|blob\..*|tuf\..*)$"
    commands = f"""\
# for each device, here "kitchen"
rabbitmqctl add_user kitchen PASSWORD
rabbitmqctl set_permissions kitchen '^mqtt-subscription-.*' '^(mqtt-subscription-.*|amq\\.topic)$' \\
  '^(mqtt-subscription-.*|amq\\.topic)$'
rabbitmqctl set_topic_permissions kitchen amq.topic '{writes}' '{reads}'
"""
    return ConfigFile("/etc/rabbitmq/rabbitmq.conf", settings), ConfigFile("commands", commands)


#: kind -> what writes its files for a fleet
KINDS: Mapping[str, Callable[[str], tuple[ConfigFile, ...]]] = {
    "mosquitto": _mosquitto,
    "emqx": _emqx,
    "rabbitmq": _rabbitmq,
}
