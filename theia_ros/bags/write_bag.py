"""The result as a bag: features beside the messages that they were made of."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from typing import Literal

from rosbags.interfaces import Connection
from rosbags.interfaces import ConnectionExtRosbag2
from rosbags.interfaces import Qos
from rosbags.interfaces import QosDurability
from rosbags.interfaces import QosHistory
from rosbags.interfaces import QosLiveliness
from rosbags.interfaces import QosReliability
from rosbags.interfaces import QosTime
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer
from rosbags.typesys import get_types_from_idl
from rosbags.typesys import get_types_from_msg
from rosbags.typesys import get_typestore
from rosbags.typesys import Stores

from theia_ros.bags.encode import Selection
from theia_ros.bags.journal import Journal
from theia_ros.bags.journal import Made
from theia_ros.bags.journal import written
from theia_ros.bags.messages import FEATURES
from theia_ros.bags.messages import INFO
from theia_ros.bags.messages import info_as_bytes
from theia_ros.bags.messages import typestore
from theia_ros.bags.source import Source
from theia_ros.bags.work import MARK
from theia_ros.catalog import feature_topic
from theia_ros.errors import BagError

STORAGES = {'mcap': StoragePlugin.MCAP, 'sqlite3': StoragePlugin.SQLITE3}

_VERSION: Literal[8] = 8
"""Of the metadata: the newest that ROS 2 Humble reads as well."""
_NO_DIGEST = 'RIHS01_' + '0' * 64
"""Of a type whose definition the recording does not hold."""
_NO_MORE = Made(-1, '', 0)
"""Of an index that no picture has."""
_FOREVER = QosTime(9223372036, 854775807)


def _qos(durability: QosDurability) -> Qos:
    """Return what the node offers for features and, transient local, for where they come from."""
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=1,
        reliability=QosReliability.RELIABLE,
        durability=durability,
        deadline=_FOREVER,
        lifespan=_FOREVER,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=_FOREVER,
        avoid_ros_namespace_conventions=False,
    )


def new_topics(node_name: str, cameras: Sequence[str], tensors: Sequence[str]) -> list[str]:
    """Return the topics that are added: where the numbers come from, then the features."""
    node = node_name.rstrip('/')
    below = [f'{node}/{camera}/{feature_topic(t)}' for camera in cameras for t in tensors]
    return [f'{node}/info', *below]


def check_topics(source: Source, topics: Sequence[str]) -> None:
    """Refuse topics that the recording has already.

    Raises:
        BagError: It has one.
    """
    there = {connection.topic for connection in source.connections}
    if taken := [topic for topic in topics if topic in there]:
        raise BagError(f'{source.path} has {taken[0]} already; use another --node-name')


def write_bag(
    folder: Path,
    storage: str,
    source: Source,
    selection: Selection,
    journal: Journal,
    topics: Sequence[str],
    info: Any,
    without_images: bool,
    facts: str,
    advance: Callable[[int], None],
) -> None:
    """Write the recording, and after each picture its features, with the same time of receipt.

    Args:
        folder: Of the bag, which is not there yet.
        storage: Key of `STORAGES`.
        source: The recording.
        selection: Which of its pictures were taken.
        journal: With their features.
        topics: From `new_topics`, for the cameras of the selection.
        info: An EncoderInfo, which becomes the first message.
        without_images: Leave out the pictures that features were made of.
        facts: What else the metadata is to hold, as JSON.
        advance: Is told how many messages were read, now and then.

    Raises:
        BagError: The recording cannot be read, or has changed, or the bag cannot be written.
    """
    info_topic, *feature_topics = topics
    writer = Writer(folder, version=_VERSION, storage_plugin=STORAGES[storage])
    writer.set_custom_data(MARK, facts)
    with written(folder), writer:
        latched, stream = _qos(QosDurability.TRANSIENT_LOCAL), _qos(QosDurability.VOLATILE)
        of_info = _add(writer, info_topic, INFO, latched)
        added = [_add(writer, topic, FEATURES, stream) for topic in feature_topics]
        tensors = len(added) // len(selection.cameras)
        of_features = {
            camera: added[i * tensors : (i + 1) * tensors]
            for i, camera in enumerate(selection.cameras)
        }
        by_topic = {(c.topic, c.kind): c.name for c in selection.cameras.values()}
        copies: dict[tuple[str, str], Connection] = {}
        for connection in source.connections:
            key = connection.topic, connection.msgtype
            if not (without_images and key in by_topic):
                copies[key] = _copy(writer, connection)
        start_ns = max(source.start_ns, selection.start_ns or 0)
        writer.write(of_info, start_ns, info_as_bytes(info))
        coming = journal.read()
        made = next(coming, _NO_MORE)
        index = -1
        messages = source.messages(selection.start_ns, selection.end_ns)
        for count, (connection, received_ns, raw) in enumerate(messages, 1):
            key = connection.topic, connection.msgtype
            if key in copies:
                writer.write(copies[key], received_ns, raw)
            if key in by_topic:
                index += 1
            if key in by_topic and made.index == index:
                if (made.camera, made.received_ns) != (by_topic[key], received_ns):
                    raise BagError(f'{source.path} has changed; remove {folder.parent}')
                outs = of_features[made.camera] if made.messages else []
                for out, message in zip(outs, made.messages, strict=True):
                    writer.write(out, received_ns, message)
                made = next(coming, _NO_MORE)
            advance(count)


def _add(writer: Writer, topic: str, kind: str, qos: Qos) -> Connection:
    return writer.add_connection(topic, kind, typestore=typestore(), offered_qos_profiles=[qos])


def _copy(writer: Writer, connection: Connection) -> Connection:
    """Add a topic of the recording as it is."""
    definition, digest = connection.msgdef.data, connection.digest
    if not definition and connection.msgtype in typestore().types:
        definition = typestore().generate_msgdef(connection.msgtype, 2)[0]
    assert isinstance(connection.ext, ConnectionExtRosbag2)
    return writer.add_connection(
        connection.topic,
        connection.msgtype,
        msgdef=definition,
        rihs01=digest or _digest(connection.msgtype, definition),
        serialization_format=connection.ext.serialization_format,
        offered_qos_profiles=connection.ext.offered_qos_profiles,
    )


def _digest(kind: str, definition: str) -> str:
    """Return the hash of a type, of which older recordings hold only the definition."""
    try:
        parts = definition.startswith('=' * 80 + '\nIDL: ')
        types = get_types_from_idl(definition) if parts else get_types_from_msg(definition, kind)
        store = get_typestore(Stores.EMPTY)
        store.register(types)
        return store.hash_rihs01(kind)
    except Exception:  # nobody needs it to read the messages
        return _NO_DIGEST
