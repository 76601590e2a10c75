"""What results show: tables of runs side by side.

Knows results as RecBole gives them. Refuses to know how they were measured.
"""
