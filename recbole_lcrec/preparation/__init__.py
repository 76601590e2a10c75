"""Preparation of data sets: download, find, convert to RecBole's atomic files, and export.

``amazon`` prepares Amazon's raw review files, ``forms`` converts other published formats, ``tables`` imports user
tables, ``export`` writes data sets in other formats, and ``locate`` finds a configured data set in any of these
formats.
"""
