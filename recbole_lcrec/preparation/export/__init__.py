"""Data sets written in forms that others read: plain RecBole's, and the one that LC-Rec is published in.

Knows whole data sets. Refuses to know how a run reads them.
"""
