"""Runs that are started from here and happen elsewhere: Ray's job API and KubeRay.

``portable`` reads a manifest as a thing to be sent away and checks that its paths mean something
over there; ``submit`` hands it to a Ray cluster's job server and follows it; ``kuberay`` writes it
as Kubernetes objects. Importing this package loads no Ray.
"""
