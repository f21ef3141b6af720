"""Everything two machines must agree on: names, versions, manifests, archives, signatures and the Git index.

Imports none of the project's other packages, decides nothing for one machine, and never touches a user's environment.
"""
