// The handshake of the plain page: two receive-only transceivers, one offer, one answer. No library, no build.

"use strict";

let pc = null;

async function negotiate() {
  pc.addTransceiver("video", { direction: "recvonly" });
  pc.addTransceiver("audio", { direction: "recvonly" });
  await pc.setLocalDescription(await pc.createOffer());
  const { sdp, type } = pc.localDescription;
  const answer = await post("offer", { sdp, type });
  document.getElementById("sessionid").value = answer.sessionid;
  await pc.setRemoteDescription({ sdp: answer.sdp, type: "answer" });
  for (const receiver of pc.getReceivers()) receiver.jitterBufferTarget = 100;
}

// Sends JSON and returns the answer's JSON; throws the server's own words when it refuses.
async function post(path, body) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...authorization() },
    body: JSON.stringify(body),
  });
  return readAnswer(response);
}

async function readAnswer(response) {
  const answer = await response.json().catch(() => ({}));
  if (!response.ok || (answer.code !== undefined && answer.code !== 0)) throw new Error(answer.msg || `HTTP ${response.status}`);
  return answer;
}

function authorization() {
  const key = document.getElementById("key").value.trim();
  return key === "" ? {} : { Authorization: `Bearer ${key}` };
}

async function start() {
  stop();
  pc = new RTCPeerConnection({ iceServers: [] });
  pc.ontrack = ({ track, streams }) => {
    const element = document.getElementById(track.kind === "video" ? "video" : "audio");
    element.srcObject = track.kind === "video" ? new MediaStream([track]) : streams[0];
  };
  const own = pc;
  pc.onconnectionstatechange = () => {
    if (own === pc) show(own.connectionState);
  };
  show("connecting");
  try {
    await negotiate();
  } catch (error) {
    stop();
    show(`failed: ${error.message}`);
  }
}

function stop() {
  if (pc) pc.close();
  pc = null;
  show("stopped");
}

function show(state) {
  document.getElementById("state").textContent = state;
}
