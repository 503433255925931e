"""MCAP files that no recorder finished: everything before the cut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from collections.abc import Iterator
from pathlib import Path

from mcap.records import Channel
from mcap.records import Chunk
from mcap.records import McapRecord
from mcap.records import Message
from mcap.records import Schema
from mcap.stream_reader import breakup_chunk
from mcap.stream_reader import StreamReader
from rosbags.interfaces import Connection
from rosbags.interfaces import ConnectionExtRosbag2
from rosbags.interfaces import MessageDefinition
from rosbags.interfaces import MessageDefinitionFormat
from rosbags.rosbag2.metadata import parse_qos

MAGIC = b'\x89MCAP0\r\n'

_FORMATS = {'ros2msg': MessageDefinitionFormat.MSG, 'ros2idl': MessageDefinitionFormat.IDL}


def is_cut(path: Path) -> bool:
    """Tell whether a file begins like MCAP and does not end so."""
    with path.open('rb') as file:
        if file.read(len(MAGIC)) != MAGIC:
            return False
        file.seek(max(len(MAGIC), path.stat().st_size - len(MAGIC)))
        return file.read() != MAGIC


class CutMcap:
    """Read such a file from its start to the last whole record, as often as is asked for.

    It offers of rosbags' `Reader` what `Source` needs. Messages come as they were written; those
    of a chunk, by their time.

    Attributes:
        connections: With the number of their messages.
        message_count: Of all.
        start_time: Of the earliest message, nanoseconds.
        end_time: After the latest.
        whole_bytes: How far it can be read.
    """

    def __init__(self, path: Path) -> None:
        """Read it once, to know what is in it."""
        self._path = path
        self._channels: dict[int, Connection] = {}
        self.whole_bytes = 0
        counts: Counter[int] = Counter()
        times = [2**63 - 1, -1]
        for message in self._messages():
            counts[message.channel_id] += 1
            times = [min(times[0], message.log_time), max(times[1], message.log_time)]
        self.message_count = counts.total()
        self.start_time, self.end_time = times[0], times[1] + 1
        self.connections = [c._replace(msgcount=counts[c.id]) for c in self._channels.values()]

    def close(self) -> None:
        """Do nothing: the file is open only while it is read."""

    def messages(
        self,
        connections: Collection[Connection] = (),
        start: int | None = None,
        stop: int | None = None,
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Give messages as rosbags' `Reader` does."""
        wanted = {c.id: c for c in connections or self.connections}
        for message in self._messages():
            connection = wanted.get(message.channel_id)
            after = start is None or start <= message.log_time
            if connection and after and (stop is None or message.log_time < stop):
                yield connection, message.log_time, message.data

    def _messages(self) -> Iterator[Message]:
        schemas: dict[int, Schema] = {}
        for record in self._records():
            if isinstance(record, Schema):
                schemas[record.id] = record
            elif isinstance(record, Channel):
                self._channels[record.id] = _connection(record, schemas.get(record.schema_id))
            elif isinstance(record, Message) and record.channel_id in self._channels:
                yield record

    def _records(self) -> Iterator[McapRecord]:
        with self._path.open('rb') as file:
            records = iter(StreamReader(file, emit_chunks=True).records)
            while True:
                try:
                    record = next(records)
                    inner = breakup_chunk(record, True) if isinstance(record, Chunk) else [record]
                except Exception:  # the cut: half a record, or bytes that were never written
                    return
                self.whole_bytes = max(self.whole_bytes, file.tell())
                messages = [r for r in inner if isinstance(r, Message)]
                yield from (r for r in inner if not isinstance(r, Message))
                yield from sorted(messages, key=lambda m: m.log_time)


def _connection(channel: Channel, schema: Schema | None) -> Connection:
    definition = MessageDefinition(MessageDefinitionFormat.NONE, '')
    if schema and schema.encoding in _FORMATS:
        definition = MessageDefinition(_FORMATS[schema.encoding], schema.data.decode())
    qos = parse_qos(channel.metadata.get('offered_qos_profiles', ''))
    return Connection(
        id=channel.id,
        topic=channel.topic,
        msgtype=schema.name if schema else '',
        msgdef=definition,
        digest='',
        msgcount=0,
        ext=ConnectionExtRosbag2(channel.message_encoding, qos),
        owner=None,
    )
