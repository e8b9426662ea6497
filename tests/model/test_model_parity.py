"""The transformer against transformers' own models of every family: logits and gradients, folders both ways."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from model_peers import LENGTH, OURS, THEIRS, lively, random_ids, their_model
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel

from groundup.model.cache import KVCache
from groundup.model.exchange import huggingface
from groundup.model.loss import linear_cross_entropy
from groundup.model.transformer import Transformer

TOLERANCE = 1e-4


def save(model: Transformer, folder: Path) -> None:
    huggingface.save(model, folder, bos_id=0, pad_id=1, stop_ids={0, 3})


def check_logits_and_gradients(model: Transformer, peer: PreTrainedModel, scratch: Path) -> None:
    """Equal on a batch of one and of three; the gradients of the mean loss, for every parameter."""
    ids = random_ids(model.config.vocab_size, 3, LENGTH, seed=1)
    hidden = model(ids[:, :-1])
    theirs = peer(input_ids=ids[:, :-1], use_cache=False).logits
    assert theirs.std() > 0.1  # the comparison means something
    torch.testing.assert_close(model.logits(hidden), theirs, atol=TOLERANCE, rtol=TOLERANCE)
    with torch.no_grad():
        torch.testing.assert_close(model.logits(model(ids[1:2, :-1])), theirs[1:2], atol=TOLERANCE, rtol=TOLERANCE)

    targets = ids[:, 1:].flatten()
    (linear_cross_entropy(hidden.flatten(0, 1), model.output_weight, targets) / len(targets)).backward()
    F.cross_entropy(theirs.flatten(0, 1), targets).backward()
    # Their gradients, told in our names: put in the place of the weights, saved by them and read by us.
    with torch.no_grad():
        for weight in peer.parameters():
            assert weight.grad is not None
            weight.copy_(weight.grad)
    peer.save_pretrained(scratch)
    gradients = dict(huggingface.load_weights(scratch))
    ours = dict(model.named_parameters())
    assert ours.keys() == gradients.keys()
    largest = max(float(gradient.abs().max()) for gradient in gradients.values())
    for name, weight in ours.items():
        assert weight.grad is not None
        # A key's bias without rotary positions has no influence: its gradient is rounding, so the scale has a floor.
        scale = max(float(gradients[name].abs().max()), 1e-3 * largest)
        torch.testing.assert_close(
            weight.grad / scale,
            gradients[name] / scale,
            atol=TOLERANCE,
            rtol=TOLERANCE,
            msg=lambda m, n=name: f"{n}: {m}",
        )


@pytest.mark.parametrize("name", OURS)
def test_transformers_loads_our_folder_with_equal_logits_and_gradients(name: str, tmp_path: Path) -> None:
    family, config = OURS[name]
    model = lively(config)
    save(model, tmp_path / "ours")
    peer = AutoModelForCausalLM.from_pretrained(tmp_path / "ours", dtype=torch.float32, attn_implementation="eager")
    assert peer.config.model_type == family
    check_logits_and_gradients(model, peer, tmp_path / "gradients")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", THEIRS)
def test_we_load_a_folder_that_transformers_saved(family: str, tied: bool, seed: int, tmp_path: Path) -> None:
    config = THEIRS[family](random.Random(f"{family} {tied} {seed}"), tied)
    peer = their_model(config, seed)
    peer.save_pretrained(tmp_path / "theirs")
    model = huggingface.load(tmp_path / "theirs")
    assert model.config.tie_embeddings == tied
    check_logits_and_gradients(model, peer, tmp_path / "gradients")


@pytest.mark.parametrize("seed", range(12))
def test_random_llama_shapes_agree(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    config = THEIRS["llama"](rng, rng.random() < 0.5)
    assert isinstance(config, LlamaConfig)
    peer = their_model(config, seed)
    peer.save_pretrained(tmp_path)
    model = huggingface.load(tmp_path)
    ids = random_ids(config.vocab_size, rng.choice([1, 2]), rng.randrange(1, LENGTH), seed)
    with torch.no_grad():
        torch.testing.assert_close(model.logits(model(ids)), peer(input_ids=ids).logits, atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("name", OURS)
def test_a_folder_comes_back_bit_by_bit(name: str, tmp_path: Path) -> None:
    model = lively(OURS[name][1])
    save(model, tmp_path)
    again = huggingface.load(tmp_path)
    assert again.config == model.config
    for (key, left), (other, right) in zip(model.state_dict().items(), again.state_dict().items(), strict=True):
        assert key == other
        assert torch.equal(left, right)
    ids = torch.arange(30)[None]
    assert torch.equal(model(ids), again(ids))
    second = tmp_path / "second"
    save(again, second)
    for path in second.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


@pytest.mark.parametrize("name", OURS)
@torch.no_grad()
def test_cached_decoding_equals_uncached(name: str) -> None:
    """Two rows with prompts of different lengths, then one token at a time, then several at once."""
    config = OURS[name][1]
    model = lively(config)
    ids = random_ids(config.vocab_size, 2, LENGTH - 2)
    whole = model(ids)
    lengths = torch.tensor([9, 4])
    cache = KVCache(config, 2, LENGTH, torch.float32, torch.device("cpu"))
    prefilled = model(ids[:, :9], cache)
    cache.advance(lengths)
    for row, length in enumerate(lengths):
        torch.testing.assert_close(prefilled[row, :length], whole[row, :length], atol=1e-5, rtol=1e-5)
    for num_new in (1, 1, 7, 1):
        places = cache.positions(num_new)
        hidden = model(ids.gather(1, places), cache)
        cache.advance(num_new)
        want = whole.gather(1, places[:, :, None].expand(-1, -1, config.hidden_size))
        torch.testing.assert_close(hidden, want, atol=1e-5, rtol=1e-5)


def test_stop_ids_are_what_transformers_stops_at(tmp_path: Path) -> None:
    save(lively(OURS["llama"][1]), tmp_path)
    peer = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert peer.generation_config.eos_token_id == [0, 3]
    assert (peer.generation_config.bos_token_id, peer.generation_config.pad_token_id) == (0, 1)
