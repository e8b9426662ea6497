"""Layer 2, rights: what owners and laws say about material: signals, licences, policies, withdrawals."""
