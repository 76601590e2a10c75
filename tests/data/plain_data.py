"""A tiny data set on disk, and the contents of files and loaders as plain lists of user and item ids."""

from recbole_lcrec import Config, create_dataset, data_preparation

EPOCH = 1_700_000_000  # float32 cannot tell the 100 seconds after it apart
MAX_HISTORY = 3
MODELS = ("SASRec", "GRU4Rec", "Pop", "BPR")
SEQUENTIAL = ("SASRec", "GRU4Rec")
# user, item, seconds; lines are not in time order, items repeat, two users have events of equal time
EVENTS = [
    ("long", "c", 30), ("one", "a", 1), ("long", "a", 10), ("three", "b", 3), ("two", "b", 9), ("long", "b", 20),
    ("four", "a", 4), ("long", "a", 40), ("tie", "d", 7), ("three", "a", 2), ("tie", "c", 7), ("long", "d", 50),
    ("two", "a", 8), ("four", "b", 3), ("tie", "b", 7), ("four", "c", 2), ("tie", "a", 7), ("long", "e", 60),
    ("four", "a", 1), ("three", "c", 1), ("tie", "e", 6), ("long", "f", 55), ("same", "a", 3), ("same", "a", 2),
    ("same", "a", 1), ("same", "b", 0),
]  # fmt: skip
CATALOGUE = ["a", "b", "c", "d", "e", "f", "never", "bought"]


def write_shop(root, events=EVENTS, catalogue=CATALOGUE):
    folder = root / "shop"
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["user_id:token\titem_id:token\ttimestamp:float"]
    lines += [f"{user}\t{item}\t{EPOCH + time if isinstance(time, int) else time}" for user, item, time in events]
    (folder / "shop.inter").write_text("\n".join(lines) + "\n")
    if catalogue is not None:
        (folder / "shop.item").write_text("\n".join(["item_id:token", *catalogue]) + "\n")
    return root


def config_of(model, root, tmp_path, dataset="shop", **changes):
    given = {"checkpoint_dir": str(tmp_path / "saved"), "MAX_ITEM_LIST_LENGTH": MAX_HISTORY, "topk": [1, 5, 10]}
    if root is not None:
        given["data_path"] = str(root)
    return Config(model, dataset, config_dict={**given, **changes})


def sequences_in(path):
    """User -> items by (time, line), read without RecBole."""
    header, *lines = path.read_text().splitlines()
    names = [name.split(":")[0] for name in header.split("\t")]
    user_column, item_column, time_column = (names.index(name) for name in ("user_id", "item_id", "timestamp"))
    events = {}
    for number, line in enumerate(lines):
        fields = line.split("\t")
        events.setdefault(fields[user_column], []).append((float(fields[time_column]), number, fields[item_column]))
    return {user: [item for _, _, item in sorted(rows)] for user, rows in events.items()}


def by_row(pairs, items):
    """Row of the batch -> item ids as in the file, from RecBole's (rows, items)."""
    found = {}
    if pairs is not None:
        for row, item in zip(pairs[0].tolist(), pairs[1].tolist(), strict=True):
            found.setdefault(row, []).append(str(items[item]))
    return found


def evaluated(loader):
    """User -> (targets, masked items, history or None), as RecBole's trainer reads them; ids as in the file."""
    users = loader._dataset.field2id_token["user_id"]
    items = loader._dataset.field2id_token["item_id"]
    found = {}
    for interaction, masked, positive_u, positive_i in loader:
        targets_of, hidden_of = by_row((positive_u, positive_i), items), by_row(masked, items)
        for row, user in enumerate(interaction["user_id"].tolist()):
            history = None
            if "item_id_list" in interaction:
                length = int(interaction["item_length"][row])
                assert interaction["item_id_list"][row, length:].sum() == 0
                history = [str(items[item]) for item in interaction["item_id_list"][row, :length].tolist()]
            name = str(users[user])
            assert name not in found
            found[name] = (targets_of.get(row, []), sorted(hidden_of.get(row, [])), history)
    return found


def trained(train_data):
    """(user, history, target) of every training row; rows of a general model have no history."""
    dataset = train_data._dataset
    users, items = dataset.field2id_token["user_id"], dataset.field2id_token["item_id"]
    feat = dataset.inter_feat
    rows = []
    for row in range(len(feat)):
        history = None
        if "item_id_list" in feat:
            kept = feat["item_id_list"][row, : int(feat["item_length"][row])]
            history = tuple(str(items[item]) for item in kept.tolist())
        rows.append((str(users[int(feat["user_id"][row])]), history, str(items[int(feat["item_id"][row])])))
    return rows


def loaders(model, root, tmp_path, **changes):
    config = config_of(model, root, tmp_path, **changes)
    return data_preparation(config, create_dataset(config))
