"""One paper, one file, one command."""

# The recipes, each a function in the file of its name, in the order of `poseling distill --help`; and whether
# a student was trained with it at length with Poseling. Of the others it is known that all parts work
# together on the mini set.
RECIPES: dict[str, bool] = {
    "baseline": True,
    "fpd": True,
    "unlabelled": True,
    "pseudo_labels": True,
    "kdlpn": True,
    "vitpose_mobile": True,
    "tokenpose_mobile": True,
    "dwpose": False,
    "okdhp": False,
    "distilpose": False,
    "sdpose": False,
    "knowledge_token": False,
    "multi_teacher": False,
    "movnect": True,
}
UNTRAINED_NOTE = "(Not yet trained at length with Poseling: no figures of ours.)"
