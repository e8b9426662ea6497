"""Known crawlers that gather pages for artificial intelligence, by the name that robots.txt calls them, and what for.

Facts from the operators' own pages and from the list of the ``ai-crawler-robots`` package (data CC0-1.0, September
2026). A group that keeps a training crawler out says that the owner doesn't want models trained on the page, and so
refuses us; one that keeps a search or an assistant's crawler out says nothing about training.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

Purpose = Literal["training", "search", "assistant"]

_TRAINING: Final = (
    # Crawlers and tokens for models of their operators.
    "anthropic-ai", "Applebot-Extended", "Bytespider", "ClaudeBot", "cohere-training-data-crawler", "Cotoyogi",
    "DeepSeekBot", "FacebookBot", "Factset_spyderbot", "Google-Extended", "GPTBot", "ICC-Crawler", "Linguee Bot",
    "meta-externalagent", "PanguBot", "Reflectionbot", "SBIntuitionsBot", "TikTokSpider", "Webzio-Extended",
    # Builders of corpora and data sets that others train on.
    "AI2Bot", "Ai2Bot-Dolma", "CCBot", "Diffbot", "FriendlyCrawler", "ImagesiftBot", "img2dataset", "LAIONDownloader",
    "omgili", "omgilibot", "Timpibot", "VelenPublicWebCrawler",
)  # fmt: skip
_SEARCH: Final = (
    "AIWebIndex", "Amazonbot", "Andibot", "bedrockbot", "Claude-SearchBot", "Claude-Web", "Cloudflare-AutoRAG",
    "DuckAssistBot", "ExaSearchBot", "Google-CloudVertexBot", "Meta-WebIndexer", "OAI-SearchBot", "PerplexityBot",
    "PetalBot", "PhindBot", "YouBot",
)  # fmt: skip
_ASSISTANT: Final = (
    "ChatGPT-User", "Claude-User", "cohere-ai", "Google-Agent", "Google-GeminiNotebook", "meta-externalfetcher",
    "MistralAI-User", "Perplexity-User",
)  # fmt: skip

AI_AGENTS: Final[Mapping[str, Purpose]] = {
    **dict.fromkeys(_TRAINING, "training"),
    **dict.fromkeys(_SEARCH, "search"),
    **dict.fromkeys(_ASSISTANT, "assistant"),
}
"""Name in robots.txt to purpose."""

TRAINING_AGENTS: Final[tuple[str, ...]] = tuple(sorted(_TRAINING, key=str.lower))
"""Those whose groups refuse us unless a caller names others."""
