# Images of convoy. `server` (the default target) serves on a CPU, `server-openvino` in bf16 on an x86
# processor that has it, `server-gpu` on an NVIDIA GPU; `export` trains networks and writes artifacts.
#
# docs/how-to/containers.md says how to build and run them.

ARG BASE_IMAGE=python:3.11-slim-bookworm
ARG NODE_IMAGE=node:22-bookworm-slim
# More extras of the server: s3, gcs or azure, for a repository in an object store.
ARG EXTRAS=
# The version of the package, as there is no git here.
ARG RELEASE_VERSION=
# Where pip finds packages, for a network with an index or a folder of wheels of its own.
ARG PIP_INDEX_URL=
ARG PIP_EXTRA_INDEX_URL=
ARG PIP_FIND_LINKS=

# The page's chart library, by its lock file, unless `make page` put it there.
FROM ${NODE_IMAGE} AS build-page
WORKDIR /src
COPY service/web service/web
RUN test -d service/web/node_modules || npm ci --prefix service/web --ignore-scripts

FROM ${BASE_IMAGE} AS base
# A fixed number, so that volumes can be made writable for it.
RUN useradd --uid 10001 --user-group --home-dir /var/lib/convoy --create-home convoy \
    && mkdir --parents /models /var/cache/convoy \
    && chown convoy:convoy /models /var/cache/convoy
ENV PATH=/opt/convoy/bin:$PATH \
    CONVOY_MODEL_REPOSITORY=/models \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1

FROM base AS build
# As variables, and before the first step: not every builder hands the arguments of a stage on to those
# that begin with it, or runs their steps again for other arguments.
ARG RELEASE_VERSION
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
ENV RELEASE_VERSION=$RELEASE_VERSION \
    PIP_INDEX_URL=$PIP_INDEX_URL \
    PIP_EXTRA_INDEX_URL=$PIP_EXTRA_INDEX_URL \
    PIP_FIND_LINKS=$PIP_FIND_LINKS
RUN python3 -m venv /opt/pip && python3 -m venv --without-pip /opt/convoy
# pip compiles what it installs: without .pyc files a server would take seconds to start.
ENV PIP="/opt/pip/bin/pip --python /opt/convoy/bin/python --disable-pip-version-check --no-cache-dir"
WORKDIR /src

FROM build AS build-server
ARG EXTRAS
COPY deploy/requirements-server.txt deploy/
RUN $PIP install --require-hashes --requirement deploy/requirements-server.txt
COPY . .
COPY --from=build-page /src/service/web service/web
RUN $PIP install --no-deps . \
    && if [ -n "$EXTRAS" ]; then $PIP install --constraint constraints.txt ".[$EXTRAS]"; fi

FROM build AS build-server-gpu
ARG EXTRAS
COPY . .
COPY --from=build-page /src/service/web service/web
# CUDA and cuDNN come as wheels: no base image of NVIDIA's is needed, its driver is on the host.
RUN $PIP install --constraint constraints.txt ".[gpu,fast,isolate${EXTRAS:+,$EXTRAS}]"

FROM build AS build-server-openvino
ARG EXTRAS
COPY . .
COPY --from=build-page /src/service/web service/web
RUN $PIP install --constraint constraints.txt ".[openvino,fast,isolate${EXTRAS:+,$EXTRAS}]"

FROM build AS build-export
COPY . .
RUN $PIP install --constraint constraints.txt '.[cpu,export,timm]'

FROM base AS export
COPY --from=build-export /opt/convoy /opt/convoy
USER 10001:10001
WORKDIR /var/lib/convoy
VOLUME /models
ENTRYPOINT ["convoy", "export"]
CMD ["--help"]

FROM base AS serving
# Huge pages for what ONNX Runtime allocates: the first touch of each small one would hold up all
# threads of Python (docs/explanation/benchmarks.md).
ENV CONVOY_GRAPH_CACHE=/var/cache/convoy/graphs \
    CONVOY_REPOSITORY_CACHE=/var/cache/convoy/artifacts \
    CONVOY_LOG_FORMAT=json \
    GLIBC_TUNABLES=glibc.malloc.hugetlb=1
USER 10001:10001
WORKDIR /var/lib/convoy
VOLUME /var/cache/convoy
EXPOSE 8000 8001
# In the form of an argument list, so that signals reach the server itself.
ENTRYPOINT ["convoy"]
CMD ["serve"]
HEALTHCHECK --interval=10s --timeout=3s --start-period=120s --retries=3 \
    CMD python -m convoy.service.http.probe "${CONVOY_HTTP_PORT:-8000}" ${CONVOY_TLS_CERTIFICATE:+--tls}

FROM serving AS server-gpu
ENV CONVOY_DEVICE=cuda
COPY --from=build-server-gpu /opt/convoy /opt/convoy

FROM serving AS server-openvino
ENV CONVOY_DEVICE=cpu \
    CONVOY_CPU_PRECISION=bf16
COPY --from=build-server-openvino /opt/convoy /opt/convoy

FROM serving AS server
ENV CONVOY_DEVICE=cpu
COPY --from=build-server /opt/convoy /opt/convoy
