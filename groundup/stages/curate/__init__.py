"""The stage that turns raw pages into training text: extracted, repaired, filtered, redacted, deduplicated."""
