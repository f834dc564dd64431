# Images of docker-compose.yml: web, then light with the data packages, then trainer with torch.

FROM python:3.13-slim AS web
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1 RANKLOOP_DATA=/data
WORKDIR /app
COPY requirements requirements
RUN pip install --require-hashes -r requirements/web.txt
RUN useradd --uid 1000 --create-home rankloop && install -d -o rankloop -g rankloop -m 700 /data
COPY . .
USER rankloop

FROM web AS light
USER root
RUN pip install --require-hashes -r requirements/data.txt
USER rankloop

FROM light AS trainer
ARG RANKLOOP_TORCH_INDEX=""
USER root
RUN pip install ${RANKLOOP_TORCH_INDEX:+--index-url "$RANKLOOP_TORCH_INDEX"} -r requirements/torch.txt \
 && pip install --require-hashes -r requirements/train.txt
USER rankloop
