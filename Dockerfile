# docker build -t nodereg .                       torch from PyPI, with its CUDA libraries
# docker build -t nodereg:cpu --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu .
#
# Plain Dockerfile syntax on purpose: buildah 1.28 builds it too. docs/containers.md tells what is in it and why.
ARG BASE_IMAGE=python:3.11-slim-bookworm

# ---- what is installed, in the versions of constraints.txt -------------------------------------------
FROM ${BASE_IMAGE} AS libraries
# Another torch, for a driver that is too old for this one: TORCH_VERSION=2.6.0, TORCH_INDEX=.../whl/cu118
# Older ones pin their own sympy.
ARG TORCH_VERSION=""
ARG TORCH_INDEX=""
# Extras of pyproject.toml that go into the image: EXTRAS="cluster viewer"
ARG EXTRAS=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# torch is the largest part and changes least: a layer of its own. pip stays out of the environment that is shipped.
COPY constraints.txt ./
RUN python3 -m venv /opt/pip && python3 -m venv --without-pip /opt/venv \
 && sed -i "${TORCH_VERSION:+/^sympy==/d;s/^torch==.*/torch==$TORCH_VERSION/}" constraints.txt \
 && /opt/pip/bin/pip --python /opt/venv/bin/python install --constraint constraints.txt \
      ${TORCH_INDEX:+--no-deps --index-url "$TORCH_INDEX"} torch
COPY container/requirements.py pyproject.toml ./
# What nothing here uses at run time goes again: tests, and headers for compiling extensions of torch.
RUN python3 requirements.py ${EXTRAS} > requirements.txt \
 && /opt/pip/bin/pip --python /opt/venv/bin/python install --constraint constraints.txt --requirement requirements.txt \
 && for packages in /opt/venv/lib/python3*/site-packages; do \
      rm -rf "$packages/torch/test" "$packages/torch/include" "$packages/pandas/tests" \
      && find "$packages/torch/bin" -type f ! -name torch_shm_manager -delete; \
    done

# ---- Triton's driver module, so that no compiler is needed at run time -------------------------------
FROM libraries AS driver
COPY container/triton_driver.py ./
# Versions of Debian packages are not pinned: a security update takes the old ones away. Nothing of these is shipped.
# hadolint ignore=DL3008
RUN mkdir -p /opt/caches \
 && if [ -d "$(echo /opt/venv/lib/python3*/site-packages/triton)" ]; then \
      apt-get update \
      && apt-get install --yes --no-install-recommends gcc libc6-dev python3-dev \
      && rm -rf /var/lib/apt/lists/* \
      && /opt/venv/bin/python triton_driver.py /opt/caches/triton; \
    fi

# ---- templates, where there is a network to fetch them -----------------------------------------------
FROM libraries AS templates
ARG TEMPLATES="MNI152NLin2009cAsym"
COPY container/templates.py ./
RUN TEMPLATEFLOW_HOME=/opt/templateflow /opt/venv/bin/python templates.py ${TEMPLATES} \
 && chmod -R a+rX /opt/templateflow

# ---- the program, and its loops compiled -------------------------------------------------------------
FROM libraries AS build
COPY LICENSE NOTICE README.md pyproject.toml version ./
COPY bids_nodereg bids_nodereg
RUN /opt/pip/bin/pip --python /opt/venv/bin/python install --constraint constraints.txt --no-deps --target /opt/nodereg .
COPY --from=driver /opt/caches /opt/caches
COPY --chmod=0755 run.py container/entry container/warm /app/
# Numba compares the seconds of its sources with those it compiled; layers of an image keep whole seconds only.
RUN find /opt/nodereg -name '*.py' -exec sh -c 'for f; do touch -d "@$(stat -c %Y "$f")" "$f"; done' sh {} + \
 && echo /opt/nodereg > "$(echo /opt/venv/lib/python3*/site-packages)/nodereg.pth" \
 && /app/warm /opt/caches \
 && chmod -R a+rX /opt/nodereg /opt/caches

# ---- the image -----------------------------------------------------------------------------------------
FROM ${BASE_IMAGE}
ARG BASE_IMAGE
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="nodereg" \
      org.opencontainers.image.description="Multi-contrast diffeomorphic brain image registration, a BIDS App" \
      org.opencontainers.image.documentation="https://github.com/nodereg/nodereg/blob/main/docs/containers.md" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/nodereg/nodereg" \
      org.opencontainers.image.base.name="${BASE_IMAGE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
# From what changes least to what changes most: a new version of the program is a download of some 10 MB.
COPY --from=libraries /opt/venv /opt/venv
COPY --from=templates /opt/templateflow /opt/templateflow
COPY --from=build /opt/nodereg /opt/nodereg
COPY --from=build /opt/caches /opt/caches
COPY --chmod=0755 run.py container/entry container/sbom.py /app/
COPY --chmod=0644 LICENSE NOTICE version /app/
# TRITON_LIBCUDA_PATH is part of the name under which Triton keeps its driver module, so it is fixed: the
# driver itself is found by the loader, wherever the container engine has put it.
ENV PATH=/opt/nodereg/bin:/opt/venv/bin:$PATH \
    LC_ALL=C.UTF-8 \
    PYTHONNOUSERSITE=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TEMPLATEFLOW_HOME=/opt/templateflow \
    TEMPLATEFLOW_AUTOUPDATE=off \
    NODEREG_IN_IMAGE=1 \
    TRITON_LIBCUDA_PATH=/opt/caches/libcuda \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN echo /opt/nodereg > "$(echo /opt/venv/lib/python3*/site-packages)/nodereg.pth" \
 && /opt/venv/bin/python /app/run.py --bids-exec-spec > /app/descriptor.json \
 && /opt/venv/bin/python /app/sbom.py > /app/sbom.json
# No user is made: apptainer cannot unpack a home that is not root's, and any user id works.
WORKDIR /tmp
ENTRYPOINT ["/app/entry"]
