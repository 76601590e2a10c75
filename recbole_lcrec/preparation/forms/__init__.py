"""Conversion of published formats to RecBole's atomic files.

LC-Rec's own, MiniOneRec's, and RecBole's downloads.

``convert`` reads LC-Rec's published format with its ``id_files``, ``minionerec`` and ``minionerec_rows`` read
MiniOneRec's CSV files, ``recbole_downloads`` fetches RecBole's data sets and ``join_texts`` adds Amazon's texts to
them. ``atomic_table``, ``atomic_writer`` and ``staging`` read, write and install atomic files. Export is in
:mod:`recbole_lcrec.preparation.export`.
"""
