"""The models that this package adds to RecBole, one file each."""
