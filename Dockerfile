# syntax=docker/dockerfile:1
# Backchannel with its demo pages: docker build -t backchannel .
# Your own app: FROM backchannel, COPY . /app, and run it as `gateway shop:app` and `worker shop:app`.
ARG PYTHON=3.13

# The demo's pages.
FROM node:22-slim AS pages
WORKDIR /src/client_js
COPY client_js/package.json client_js/package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY client_js ./
RUN npm run build:demo

# The wheel, and an environment with it and what it needs. Nothing is compiled: every dependency has a wheel.
FROM python:${PYTHON}-slim AS environment
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY protocol/backchannel_protocol protocol/backchannel_protocol
COPY client_py client_py
COPY server server
COPY --from=pages /src/server/backchannel/demo/static server/backchannel/demo/static
RUN pip wheel --no-deps --wheel-dir /wheels .
RUN python -m venv /opt/backchannel \
 && /opt/backchannel/bin/pip install --only-binary :all: "backchannel[server] @ file://$(echo /wheels/backchannel-*.whl)" \
 && /opt/backchannel/bin/pip uninstall --yes pip

FROM python:${PYTHON}-slim
ARG VERSION=0.1.0
ARG REVISION=""
LABEL org.opencontainers.image.title="Backchannel" \
      org.opencontainers.image.description="A real-time messaging backend in Python: ask and listen over one WebSocket." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin backchannel \
 && mkdir /app
COPY --from=environment /opt/backchannel /opt/backchannel
ENV PATH="/opt/backchannel/bin:$PATH" \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# Apps are found from here. It and all the rest may be read-only: `serve` alone, without Redis, writes, to its `data`.
WORKDIR /app
USER 10001
EXPOSE 8000
STOPSIGNAL SIGTERM
# A sign of life: it asks nothing else, so whoever restarts by it restarts nobody because of a broken database. A
# worker, and a gateway elsewhere than on port 8000, say where.
HEALTHCHECK --interval=10s --timeout=5s --retries=3 --start-period=30s \
  CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + (os.environ.get('BACKCHANNEL_HEALTH_PORT') or os.environ.get('BACKCHANNEL_PORT') or '8000') + '/healthz', timeout=3)"]
ENTRYPOINT ["backchannel"]
CMD ["--help"]
