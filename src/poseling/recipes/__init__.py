"""One paper, one file, one command."""

# Recipes of which nobody has trained a student at length with Poseling: what is known of them is that all
# parts work together on the mini set.
UNTRAINED = ("dwpose", "okdhp", "distilpose", "sdpose", "knowledge_token", "multi_teacher")
UNTRAINED_IN_SHORT = "(Not yet trained at length with Poseling: no figures of ours.)"
