"""What the owner of a page says about its use by machines, read from wherever it is said, with the bytes that say it.

``site.site_signals`` reads the files of a site, ``page.page_signals`` a page's headers and markup, ``decision.decide``
resolves what they found. Nothing here goes to the network but ``fetch``.
"""
