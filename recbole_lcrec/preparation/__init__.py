"""From files of any origin to a data set that RecBole reads, and back.

Knows file formats. Refuses to know RecBole's classes and what is trained on the data.
"""
