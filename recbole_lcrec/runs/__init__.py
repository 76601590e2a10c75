"""Files of a saved run, which trainers write and serving and analysis read."""
