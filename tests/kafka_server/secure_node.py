"""A Kafka as public streams have it: SCRAM over TLS, and nobody may do what no ACL allows."""

import re
from dataclasses import dataclass
from pathlib import Path

import trustme
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from kafka_desk import ANSWER_S, Broker
from kafka_node import ROOT, KafkaNode

SCRIPT = ROOT / "deploy" / "kafka-acls.sh"

USER, PASSWORD = "filter", "marker-scram-8f41c"
_MORE = r"""
listeners=PLAINTEXT://127.0.0.1:${port},SECURE://127.0.0.1:${third_port},CONTROLLER://127.0.0.1:${controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:${port},SECURE://127.0.0.1:${third_port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.secure.scram-sha-512.sasl.jaas.config=\
    org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.secure.ssl.keystore.type=PEM
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
# The tests' own way in; the node itself also comes without a name.
super.users=User:ANONYMOUS
"""


@dataclass(frozen=True, slots=True)
class SecureNode:
    """The node, its helpers on the listener without TLS, and what its clients need."""

    broker: Broker
    node: KafkaNode
    authority: Path
    """The certificate that signed the broker's, as a PEM file."""

    @property
    def bootstrap(self) -> str:
        """The address that speaks TLS."""
        return f"127.0.0.1:{self.node.third_port}"

    def client(self, password: str = PASSWORD) -> dict[str, str]:
        """librdkafka's settings, without the address."""
        return {
            "security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": USER, "sasl.password": password,
            "ssl.ca.location": str(self.authority),
        }  # fmt: skip

    def grant(self) -> None:
        """Give the user the rights of ``deploy/kafka-acls.sh``."""
        lines = re.findall(r"^allow --operation (\w+) --(\w+) (\S+)$", SCRIPT.read_text(), re.M)
        assert len(lines) > 4
        bindings = [
            AclBinding(
                ResourceType[kind.upper()], name, ResourcePatternType.LITERAL, f"User:{USER}", "*",
                AclOperation[operation.upper()], AclPermissionType.ALLOW,
            )
            for operation, kind, name in lines
        ]  # fmt: skip
        admin = AdminClient({"bootstrap.servers": self.broker.bootstrap})
        for future in admin.create_acls(bindings).values():
            future.result(ANSWER_S)


def start(folder: Path) -> SecureNode:
    """Make certificates, and start a node with them.

    Raises
    ------
    KafkaUnavailable
        No Kafka can be started here.
    """
    made = trustme.CA()
    authority, keystore = folder / "ca.pem", folder / "broker.pem"
    made.cert_pem.write_to_path(authority)
    issued = made.issue_cert("127.0.0.1")
    # Java reads keys in PKCS 8 alone.
    key = load_pem_private_key(issued.private_key_pem.bytes(), None)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    keystore.write_bytes(pem + b"".join(each.bytes() for each in issued.cert_chain_pems))
    more = f"{_MORE}listener.name.secure.ssl.keystore.location={keystore}\n"
    node = KafkaNode(folder, more=more, scram={USER: PASSWORD})
    node.start()
    return SecureNode(Broker(node.bootstrap, node), node, authority)
