"""The markup of MediaWiki, and the text in it."""
