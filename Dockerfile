FROM python:3.13-slim@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b AS build
# What pyproject.toml names as optional: vault, aws, azure.
ARG EXTRAS=mysqlclient
RUN apt-get update \
 && apt-get install -y --no-install-recommends gcc libc6-dev pkg-config libmariadb-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /taifish
RUN python -m venv /venv
COPY pyproject.toml ./
COPY locked locked
# Only files whose hashes are known; what locked/*.txt names is complete.
RUN for use in run $(echo "$EXTRAS" | tr , " "); do \
      /venv/bin/pip install --no-cache-dir --no-deps --require-hashes --requirement "locked/$use.txt" || exit 1; \
    done \
 && /venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.13-slim@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b
RUN apt-get update \
 && apt-get install -y --no-install-recommends libmariadb3 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 999 --home-dir /taifish --no-create-home taifish
WORKDIR /taifish
COPY --from=build /venv /venv
COPY . .
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 TAIFISH_DATA_DIR=/tmp/taifish
USER taifish
EXPOSE 8000
CMD ["gunicorn", "taifish.wsgi", "--bind=0.0.0.0:8000", "--worker-class=taifish.web.Worker", "--workers=2", "--threads=8", "--no-control-socket"]
