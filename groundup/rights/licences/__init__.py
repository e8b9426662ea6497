"""Licences: SPDX expressions, what each licence lets people do, and which one a page, file or folder states."""
