"""The evaluate stage: how well models predict unseen text and answer questions, beside baselines, with intervals."""
