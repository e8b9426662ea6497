"""Withdrawals: what a request reaches, what was made of it, making that again without it, and a receipt."""
