"""The package inside other people's engines; each module needs an extra, and is imported only by who wants it."""
