"""Attention in the space of the few tokens gives what attention as written in the paper gives."""

from __future__ import annotations

import pytest
import torch

from theia_ros.decoders.two_way import Attention
from theia_ros.decoders.two_way import by_head
from theia_ros.decoders.two_way import TwoWayTransformer

PROMPTS, TOKENS, CELLS = 3, 7, 20


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def textbook(attention, queries, keys, values):
    """Project, compare, mix, project: (P, N, 256) all."""
    q, k, v = attention.q_proj(queries), attention.k_proj(keys), attention.v_proj(values)
    mixed = torch.nn.functional.scaled_dot_product_attention(by_head(q), by_head(k), by_head(v))
    return attention.out_proj(mixed.transpose(1, 2).flatten(2))


@pytest.fixture
def attention():
    torch.manual_seed(0)
    return Attention(128)


def test_tokens_look_at_the_image(attention):
    tokens, keys, values = rand(PROMPTS, TOKENS, 256), *rand(2, PROMPTS, CELLS, 256)
    torch.testing.assert_close(
        attention.at_image(tokens, keys, values), textbook(attention, tokens, keys, values)
    )


def test_the_image_looks_at_tokens(attention):
    image, placed = rand(2, PROMPTS, CELLS, 256)
    keys, values = rand(2, PROMPTS, TOKENS, 256)
    given = attention.give(image, attention.image_scores(placed, keys), values)
    torch.testing.assert_close(given, image + textbook(attention, placed, keys, values))


def test_one_image_looks_at_the_tokens_of_all_prompts(attention):
    image, placed = rand(2, CELLS, 256)
    keys, values = rand(2, PROMPTS, TOKENS, 256)
    scores = attention.fixed_image_scores(by_head(attention.q_proj(placed)), keys)
    every = placed.expand(PROMPTS, -1, -1)
    torch.testing.assert_close(
        attention.give(image, scores, values), image + textbook(attention, every, keys, values)
    )


def test_tokens_look_at_each_other():
    torch.manual_seed(0)
    attention = Attention(256)
    tokens, values = rand(2, PROMPTS, TOKENS, 256)
    torch.testing.assert_close(
        attention.among(tokens, tokens, values), textbook(attention, tokens, tokens, values)
    )


def test_prompts_do_not_see_each_other():
    torch.manual_seed(0)
    transformer = TwoWayTransformer()
    image = transformer.image(*rand(2, CELLS, 256))
    prompts = rand(PROMPTS, TOKENS, 256)
    tokens, pictures = transformer(prompts, image)
    assert (tokens.shape, pictures.shape) == ((3, 7, 256), (3, 20, 256))
    for i in range(PROMPTS):
        alone = transformer(prompts[i : i + 1], image)
        torch.testing.assert_close((tokens[i : i + 1], pictures[i : i + 1]), alone)
