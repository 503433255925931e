"""Train a small policy from a bag with features and the commands that somebody gave.

    python examples/train_policy.py BAG policy.safetensors --cameras front --command /cmd_vel

The bag is played to the same code that the robot runs, message by message: at each command, the
policy is shown what it would have seen on the robot at that moment, and nothing else.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import policy_head
import torch
from rosbags.highlevel import AnyReader
from rosbags.highlevel import AnyReaderError
from tqdm import tqdm

from theia_ros.bags.messages import typestore
from theia_ros.catalog import feature_topic
from theia_ros.client import Origin
from theia_ros.client import Window
from theia_ros.errors import FeatureError
from theia_ros.errors import TheiaRosError


def messages(args: argparse.Namespace, topics: dict[str, str]) -> Iterator[tuple]:
    """Give what stands behind each topic, the message, and when it came, nanoseconds.

    Features come later by the delay, as they would have from a live encoder.
    """
    delay_ns = round(args.delay_ms * 1e6)
    waiting: deque[tuple] = deque()
    with AnyReader([args.bag], default_typestore=typestore()) as bag:
        wanted = [connection for connection in bag.connections if connection.topic in topics]
        missing = topics.keys() - {connection.topic for connection in wanted}
        if missing - {args.encoder + '/info'}:
            raise TheiaRosError(f'{args.bag} has no {", ".join(sorted(missing))}')
        total = sum(connection.msgcount for connection in wanted)
        for connection, time_ns, data in tqdm(bag.messages(wanted), 'reading', total, delay=2):
            while waiting and waiting[0][2] <= time_ns:
                yield waiting.popleft()
            entry = topics[connection.topic], bag.deserialize(data, connection.msgtype), time_ns
            if entry[0] in args.cameras:
                waiting.append((*entry[:2], time_ns + delay_ns))
            else:
                yield entry


def examples(args: argparse.Namespace, setup: policy_head.Setup) -> tuple:
    """Return inputs, commands, and what the features were made with."""
    topic = feature_topic(args.tensor)
    topics = {f'{args.encoder}/{camera}/{topic}': camera for camera in args.cameras}
    topics |= {args.encoder + '/info': 'info', args.command: 'command'}
    if args.joints:
        topics[args.joint_states] = 'joints'
    inbox, origins, skipped = setup.inbox(), {}, Counter()
    inputs, commands, digests = [], [], set()
    for name, msg, time_ns in messages(args, topics):
        if name == 'info':
            inbox.learn(msg)
            origins[msg.digest] = Origin.of(msg)
        elif name == 'joints':
            inbox.put_followed(name, msg, time_ns)
        elif name != 'command':
            inbox.put(name, msg, time_ns)
        else:
            try:
                observation = inbox.observe(time_ns)
                inputs.append(setup.inputs(observation))
                commands.append(torch.tensor([msg.linear.x, msg.angular.z]))
                digests.add(observation[args.cameras[0]].provenance)
            except FeatureError as exc:
                skipped[f'{type(exc).__name__}: {exc}'.partition(';')[0]] += 1
    for reason, count in skipped.most_common(3):
        sys.stderr.write(f'{count} commands had no features: {reason}\n')
    if len(inputs) < 10:
        raise TheiaRosError(f'{len(inputs)} commands of {args.bag} have features; expected 10')
    if len(digests) > 1:
        raise TheiaRosError(f'features of {len(digests)} provenances are in {args.bag}')
    digest = digests.pop()
    cells, joints = (torch.stack(parts) for parts in zip(*inputs, strict=True))
    return cells, joints, torch.stack(commands).float(), origins.get(digest, Origin(digest))


def train(
    cells: torch.Tensor, joints: torch.Tensor, commands: torch.Tensor, args: argparse.Namespace
) -> tuple:
    """Return a trained head, and its error on what it saw and on the last fifth, which it did not.

    Args:
        cells: Of all examples, as `Setup.inputs` gives them, (B, cells, channels).
        joints: (B, joints).
        commands: (B, 2).
        args: Of the command line.
    """
    torch.manual_seed(args.seed)
    seen = len(cells) * 4 // 5
    head = policy_head.Head(cells.shape[2], joints.shape[1])
    head.mean.copy_(cells[:seen].mean(dim=(0, 1)))
    head.std.copy_(cells[:seen].std(dim=(0, 1)) + 1e-3)
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=1e-2)
    for _ in tqdm(range(args.epochs), 'training', delay=2):
        for batch in torch.randperm(seen).split(64):
            optimizer.zero_grad()
            loss = torch.nn.functional.mse_loss(head(cells[batch], joints[batch]), commands[batch])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        errors = (head(cells, joints) - commands).square().mean(dim=1).sqrt()
    return head, float(errors[:seen].mean()), float(errors[seen:].mean())


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('bag', type=Path, help='folder of a rosbag2')
    parser.add_argument('policy', type=Path, help='file to write, .safetensors')
    parser.add_argument('--cameras', nargs='+', required=True)
    parser.add_argument('--command', required=True, help='topic, of geometry_msgs/Twist')
    parser.add_argument('--encoder', default='/theia')
    parser.add_argument('--tensor', default='theia')
    parser.add_argument('--joints', nargs='+', default=[], help='names of joints to see')
    parser.add_argument('--joint-states', default='/joint_states', help='their topic')
    parser.add_argument('--steps', type=int, default=1)
    parser.add_argument('--period', type=float, default=0.1, help='seconds between steps')
    parser.add_argument(
        '--delay-ms', type=float, default=0.0, help='of a live encoder, if the bag has none'
    )
    parser.add_argument('--epochs', type=int, default=100)
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)  # the head is too small for more
    try:
        setup = policy_head.Setup(
            cameras=tuple(args.cameras),
            tensor=args.tensor,
            window=Window(args.steps, args.period),
            origin=None,
            joints=tuple(args.joints),
        )
        cells, joints, commands, origin = examples(args, setup)
        head, seen, unseen = train(cells, joints, commands, args)
        policy_head.save(args.policy, head, replace(setup, origin=origin))
    except (TheiaRosError, AnyReaderError) as exc:
        sys.stderr.write(f'train_policy.py: {exc}\n')
        return 2
    print(f'{len(cells)} examples, error {seen:.4f} in training, {unseen:.4f} on the last fifth')
    return 0


if __name__ == '__main__':
    sys.exit(main())
