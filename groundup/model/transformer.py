"""The transformer: mathematics only. Sharding, precision and adapters are applied from outside.

Shapes in names: B batch, T new positions, D hidden_size, E head_dim, V vocab_size. Parameter names are those of
Hugging Face's Llama for every configuration (``groundup/model/exchange`` renames).

Sources: Llama (Touvron et al. 2023, section 2); GPT-2 (Radford et al. 2019) for learned positions and LayerNorm;
parallel branches (Wang & Komatsuzaki 2021, GPT-J; Falcon); Mixtral (Jiang et al. 2024) for experts.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from groundup.base.errors import RequestError
from groundup.model.attention import Attention, Context, document_numbers, with_masks
from groundup.model.cache import KVCache
from groundup.model.config import ModelConfig
from groundup.model.experts import MoE
from groundup.model.layers import MLP, new_norm
from groundup.model.rotary import rotary_table


class Block(nn.Module):
    """Attention and feed-forward, each on a normalised copy and added to the residual stream: in turn, or at once."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.parallel = config.parallel_residual
        self.input_layernorm = new_norm(config)
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = None if config.shared_norm else new_norm(config)
        self.mlp = MoE(config) if config.num_experts else MLP(config)

    def forward(self, x_BTD: Tensor, context: Context) -> Tensor:
        normed_BTD = self.input_layernorm(x_BTD)
        attended_BTD = self.self_attn(normed_BTD, context)
        middle_BTD = x_BTD + attended_BTD
        if self.post_attention_layernorm is not None:
            normed_BTD = self.post_attention_layernorm(x_BTD if self.parallel else middle_BTD)
        mixed = self.mlp(normed_BTD, context.aux) if isinstance(self.mlp, MoE) else self.mlp(normed_BTD)
        out: Tensor = middle_BTD + mixed
        return out


class Transformer(nn.Module):
    """Token ids in, hidden states out; ``logits`` or a fused loss turns these into predictions.

    A call is ``embed``, ``context``, every block of ``layers``, ``norm``: parts that a pipeline can own separately.
    """

    cos: Tensor | None
    sin: Tensor | None

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        V, D = config.vocab_size, config.hidden_size
        self.embed_tokens = nn.Embedding(V, D)
        self.embed_positions = nn.Embedding(config.max_seq_len, D) if config.positions == "learned" else None
        self.layers = nn.ModuleList(Block(config, layer) for layer in range(config.num_layers))
        self.norm = new_norm(config)
        self.lm_head = None if config.tie_embeddings else nn.Linear(D, V, bias=False)
        self.register_buffer("cos", None, persistent=False)
        self.register_buffer("sin", None, persistent=False)
        self.fill_tables()

    def fill_tables(self, device: torch.device | None = None) -> None:
        """Compute what is neither learned nor stored: needed after weights were put in place of meta tensors."""
        if self.config.positions == "rotary":
            self.cos, self.sin = rotary_table(self.config, device or self.embed_tokens.weight.device)

    @property
    def output_weight(self) -> Tensor:
        """The output projection (V, D)."""
        return self.embed_tokens.weight if self.lm_head is None else self.lm_head.weight

    def forward(
        self,
        ids_BT: Tensor,
        cache: KVCache | None = None,
        *,
        documents_BT: Tensor | None = None,
        positions_BT: Tensor | None = None,
        aux: list[Tensor] | None = None,
    ) -> Tensor:
        """Hidden states (B, T, D), normalised, ready for the output projection.

        ids_BT is int64. With a cache, the T ids of row b follow the ``cache.lengths[b]`` positions before them; the
        caller then calls ``cache.advance``. ``documents_BT`` (int) numbers the documents packed into each row:
        positions see only their own, and count on through the row unless ``positions_BT`` (int64) says otherwise.
        Each layer of experts appends its balance loss to ``aux``. Under autocast the states are in the autocast
        type. RequestError for more positions than the model knows, or documents with a cache.
        """
        if cache is not None and positions_BT is None:
            # Padding may lie beyond the table; its states are never used.
            positions_BT = cache.positions(ids_BT.size(1)).clamp_max(self.config.max_seq_len - 1)
        x_BTD = self.embed(ids_BT, positions_BT)
        context = self.context(x_BTD, cache, documents_BT=documents_BT, positions_BT=positions_BT, aux=aux)
        for block in self.layers:
            x_BTD = block(x_BTD, context)
        out: Tensor = self.norm(x_BTD)
        return out

    def embed(self, ids_BT: Tensor, positions_BT: Tensor | None = None) -> Tensor:
        """The residual stream (B, T, D) before the first block; positions are 0 to T - 1 if not given."""
        num_positions = ids_BT.size(1)
        if num_positions > self.config.max_seq_len:
            raise RequestError(f"{num_positions} positions exceed the model's {self.config.max_seq_len}")
        x_BTD: Tensor = self.embed_tokens(ids_BT)
        if self.embed_positions is not None:
            if positions_BT is None:
                positions_BT = torch.arange(num_positions, device=ids_BT.device)
            x_BTD = x_BTD + self.embed_positions(positions_BT)
        if torch.is_autocast_enabled(x_BTD.device.type):
            x_BTD = x_BTD.to(torch.get_autocast_dtype(x_BTD.device.type))
        return x_BTD

    def context(
        self,
        x_BTD: Tensor,
        cache: KVCache | None = None,
        *,
        documents_BT: Tensor | None = None,
        positions_BT: Tensor | None = None,
        aux: list[Tensor] | None = None,
    ) -> Context:
        """What the blocks need beside the residual stream, of which only shape, type and device are read."""
        cos, sin = self._rotation(x_BTD, positions_BT)
        numbers_BT = None if documents_BT is None else document_numbers(documents_BT)
        return with_masks(Context(cos, sin, cache, numbers_BT, aux), x_BTD, self.config)

    def _rotation(self, x_BTD: Tensor, positions_BT: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        if self.cos is None or self.sin is None:
            return None, None
        if positions_BT is None:
            cos, sin = self.cos[: x_BTD.size(1)], self.sin[: x_BTD.size(1)]
        else:
            cos, sin = self.cos[positions_BT][:, None], self.sin[positions_BT][:, None]
        return cos.to(x_BTD.dtype), sin.to(x_BTD.dtype)

    def logits(self, hidden: Tensor) -> Tensor:
        """Unnormalised log-probabilities (..., V), fp32."""
        return F.linear(hidden, self.output_weight.to(hidden.dtype)).float()
