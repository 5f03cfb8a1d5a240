"""A JupyterHub for a class: one container a learner, with limits on memory and cores.

A sample to start from: `jupyterhub -f deploy/jupyterhub/jupyterhub_config.py` on a
machine with Docker, jupyterhub, dockerspawner and the image of the Dockerfile beside
this file.  What an instructor decides is at the top.
"""

import os

IMAGE = os.environ.get("COURSE_IMAGE", "transfer-learning-course")
LEARNERS = set(os.environ.get("COURSE_LEARNERS", "").split())  # names that may log in
ADMINS = set(os.environ.get("COURSE_ADMINS", "").split())
HUB = os.environ.get("COURSE_HUB_IP", "172.17.0.1")  # of this machine, for Docker
MEMORY = "4G"  # a lesson needs up to 3 GB, its server 0.3
CORES = 2  # the times that lessons state are for two
IDLE_SECONDS = 3600  # then a server is stopped; files stay

c = get_config()  # noqa: F821 - given by JupyterHub

# -- who: accounts of this machine; replace by your school's authenticator ----------
c.JupyterHub.authenticator_class = "pam"
c.Authenticator.allowed_users = LEARNERS | ADMINS
c.Authenticator.admin_users = ADMINS

# -- what each learner gets ---------------------------------------------------------
c.JupyterHub.spawner_class = "dockerspawner.DockerSpawner"
c.DockerSpawner.image = IMAGE
c.DockerSpawner.cmd = ["start-course"]
c.DockerSpawner.remove = True  # the container; the volume stays
c.DockerSpawner.volumes = {"course-{username}": "/srv/learner"}
c.DockerSpawner.use_internal_ip = True
c.Spawner.mem_limit = MEMORY
c.Spawner.cpu_limit = CORES
c.Spawner.environment = {"OMP_NUM_THREADS": str(CORES)}
c.Spawner.default_url = "/lab/tree/notebooks/00_start_here.ipynb"
c.Spawner.start_timeout = 120  # the first start copies the course
c.JupyterHub.hub_ip = "0.0.0.0"  # containers must reach the hub, at
c.JupyterHub.hub_connect_ip = HUB  # this address

# -- servers that nobody uses -------------------------------------------------------
c.Spawner.args = [f"--ServerApp.shutdown_no_activity_timeout={IDLE_SECONDS}"]
