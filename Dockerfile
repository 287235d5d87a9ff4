# docker build -t nodereg .                       torch from PyPI, with its CUDA libraries
# docker build -t nodereg:cpu --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu .
#
# Plain Dockerfile syntax on purpose: buildah 1.28 builds it too.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
ARG TORCH_INDEX=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
# torch is the largest part and changes least: a layer of its own.
COPY constraints.txt ./
RUN python3 -m venv /opt/venv \
 && /opt/venv/bin/pip install -c constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch
COPY LICENSE NOTICE README.md pyproject.toml version ./
COPY bids_nodereg bids_nodereg
RUN /opt/venv/bin/pip install -c constraints.txt .
# templateflow unpacks its list of templates when it is first imported, which a read-only image cannot.
RUN TEMPLATEFLOW_HOME=/opt/templateflow /opt/venv/bin/python -c "import templateflow" \
 && chmod -R a+rX /opt/venv /opt/templateflow

FROM ${BASE_IMAGE}
ARG BASE_IMAGE
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="nodereg" \
      org.opencontainers.image.description="Multi-contrast diffeomorphic brain image registration, a BIDS App" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/nodereg/nodereg" \
      org.opencontainers.image.base.name="${BASE_IMAGE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
COPY --from=build /opt/venv /opt/venv
# Triton comes with the CUDA builds of torch and compiles a small C module once; without a compiler the
# GPU would be used through plain torch.
RUN if ls -d /opt/venv/lib/python3*/site-packages/triton >/dev/null 2>&1; then \
      apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev \
      && rm -rf /var/lib/apt/lists/*; \
    fi
COPY --from=build /opt/templateflow /opt/templateflow
COPY --chmod=0755 run.py container/entry /app/
COPY --chmod=0644 LICENSE NOTICE version /app/
ENV PATH=/opt/venv/bin:$PATH \
    LC_ALL=C.UTF-8 \
    PYTHONNOUSERSITE=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TEMPLATEFLOW_HOME=/opt/templateflow \
    TEMPLATEFLOW_AUTOUPDATE=off \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
# No user is made: apptainer cannot unpack a home that is not root's, and any user id works.
WORKDIR /tmp
STOPSIGNAL SIGINT
ENTRYPOINT ["/app/entry"]
