"""Training of the heads: gradient descent, and ridge regression for the linear one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from clone import heads
from clone.episodes import Examples

_PENALTIES = (1e-2, 1e-1, 1.0, 1e1, 1e2)
"""Of the linear head, times the mean of its kernel's diagonal."""
_LOOKS = 20
"""How often a run looks at the validation."""


def fit(
    kind: str,
    seed: int,
    rate: float,
    scales: heads.Policy,
    train: Examples,
    validation: Examples,
    updates: int,
    batch_size: int,
) -> tuple[heads.Policy, dict[str, Any]]:
    """Train a head, and return the best of the run by its validation loss, and how it went.

    Args:
        kind: Key of `HEADS`.
        seed: Of the first weights, and of the order of the batches.
        rate: The learning rate to begin with; it falls to 0.
        scales: A head of this kind with the scales of the training data.
        train: To learn from.
        validation: To choose by.
        updates: Of the run.
        batch_size: Decisions in an update.
    """
    torch.manual_seed(seed)
    head = heads.HEADS[kind](train.tokens.shape[2])
    of_scales = {n: t for n, t in scales.state_dict().items() if n.startswith('of_')}
    head.load_state_dict(of_scales, strict=False)
    optimizer = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    # The same batches for every kind of head.
    order = torch.Generator().manual_seed(seed)
    best, curve = (float('inf'), 0, {}), []
    for update in tqdm(range(1, updates + 1), f'{kind}, seed {seed}, {rate:g}', delay=2):
        batch = torch.randint(len(train.states), (batch_size,), generator=order)
        raw = head(train.tokens[batch].float(), train.states[batch])
        value = heads.loss(raw, heads.targets(head, train.actions[batch]))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()
        if update % max(1, updates // _LOOKS) == 0 or update == updates:
            found = _loss(head, validation)
            curve.append([update, round(value.item(), 5), round(found, 5)])
            if found < best[0]:
                best = found, update, {n: t.clone() for n, t in head.state_dict().items()}
    head.load_state_dict(best[2])
    return head.eval(), {
        'validation_loss': round(best[0], 5),
        'best_update': best[1],
        'update_train_validation': curve,
    }


@torch.no_grad()
def _loss(head: heads.Policy, examples: Examples) -> float:
    head.eval()
    raw = head.raw(examples.tokens, examples.states)
    head.train()
    return float(heads.loss(raw, heads.targets(head, examples.actions)))


@torch.no_grad()
def fit_linear(train: Examples, validation: Examples) -> tuple[heads.Policy, dict[str, Any]]:
    """Return the linear head with the penalty that is best on validation: ridge regression."""
    head = heads.LinearHead(train.tokens.shape[2])
    head.fit_scales(train.tokens, train.states, train.actions)

    def inputs(examples: Examples) -> Tensor:
        parts = heads.chunks(examples.tokens, examples.states)
        return torch.cat([head.inputs(tokens, states) for tokens, states in parts])

    def wanted(examples: Examples) -> Tensor:
        found = heads.targets(head, examples.actions)
        return torch.cat([found[:, :-1], 2 * found[:, -1:] - 1], dim=1)

    x, y = inputs(train), wanted(train)
    centre, middle = x.mean(0), y.mean(0)
    x -= centre
    # By the kernel, since there are fewer examples than inputs.
    values, vectors = torch.linalg.eigh((x @ x.T).double())
    turned = vectors.T @ (y - middle).double()
    seen, right = inputs(validation) - centre, wanted(validation)
    best: tuple[float, float, Tensor] = (float('inf'), 0.0, torch.zeros(0))
    for penalty in _PENALTIES:
        held = values.clamp_min(0) + penalty * values.mean()
        weights = x.T @ (vectors @ (turned / held[:, None])).float()
        error = float((seen @ weights + middle - right).square().mean())
        if error < best[0]:
            best = error, penalty, weights
    head.last.weight.copy_(best[2].T)
    head.last.bias.copy_(middle - centre @ best[2])
    return head.eval(), {'validation_loss': round(best[0], 5), 'penalty': best[1]}
