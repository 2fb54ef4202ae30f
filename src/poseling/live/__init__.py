"""What a body's turns are put to: an avatar, a file of motion, a program that waits for it; and the page in
the browser.

It sees the runtime and the nouns, and needs nothing beside numpy.
"""
