"""Export of data sets to other formats.

Atomic files for plain RecBole, and the format published by LC-Rec's authors.

``atomic_export`` writes atomic files, ``publish`` the published format, and ``renumber`` replaces ids by whole numbers.
Conversion in the other direction is in :mod:`recbole_lcrec.preparation.forms`.
"""
