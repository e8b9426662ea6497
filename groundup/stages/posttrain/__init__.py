"""A base model to one that answers (SFT), and that to one that answers as people prefer (DPO)."""
