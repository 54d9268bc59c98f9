FROM python:3.13-slim AS build
# What pyproject.toml names as optional: vault, aws, azure.
ARG EXTRAS=mysqlclient
RUN apt-get update \
 && apt-get install -y --no-install-recommends gcc libc6-dev pkg-config libmariadb-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /taifish
RUN python -m venv /venv
COPY pyproject.toml constraints.txt ./
RUN /venv/bin/pip install --no-cache-dir --constraint constraints.txt ".[$EXTRAS]"

FROM python:3.13-slim
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
