// What a viewer's browser sees and hears of one session. Times are Unix milliseconds on the page's clock.
(() => {
  const HOP = 240; // 5 ms at 48 kHz, as analysis.HOP_S
  const POSTS = 10; // hops a message
  const now = () => performance.timeOrigin + performance.now();

  const WORKLET = `registerProcessor('envelope', class extends AudioWorkletProcessor {
    constructor() { super(); this.sum = 0; this.count = 0; this.rms = []; this.start = null; }
    process([channels]) {
      const length = channels.length ? channels[0].length : 128;
      for (let i = 0; i < length; i++) {
        let sample = 0;
        for (const channel of channels) sample += channel[i] / channels.length;
        if (this.start === null) this.start = currentFrame + i;
        this.sum += sample * sample;
        if (++this.count < ${HOP}) continue;
        this.rms.push(Math.sqrt(this.sum / ${HOP})); this.sum = 0; this.count = 0;
        if (this.rms.length < ${POSTS}) continue;
        this.port.postMessage({start: this.start, end: currentFrame + length, rms: this.rms});
        this.rms = []; this.start = null;
      }
      return true;
    }
  });`;

  // Mean luma of the mouth region in boxes, as recording.mouth_patch, in base64: half a second of numbers would hold
  // the benchmark's event loop, and with it the client beside the browser, for 50 ms and more.
  function mouthPatch(luma, stride, width, height, mouth, columns, rows) {
    const x = Math.floor(mouth[0] * width), y = Math.floor(mouth[1] * height);
    const w = Math.max(1, Math.floor(Math.floor(mouth[2] * width) / columns));
    const h = Math.max(1, Math.floor(Math.floor(mouth[3] * height) / rows));
    const patch = new Uint8Array(columns * rows);
    for (let r = 0, k = 0; r < rows; r++) for (let c = 0; c < columns; c++, k++) {
      let sum = 0;
      for (let j = 0; j < h; j++) {
        const at = (y + r * h + j) * stride + x + c * w;
        for (let i = 0; i < w; i++) sum += luma[at + i];
      }
      patch[k] = Math.round(sum / (w * h));
    }
    return btoa(String.fromCharCode(...patch));
  }

  // The counter in the test card's marks, -1 without; the layout is told in marks.py.
  function readCounter(luma, stride, width) {
    const side = Math.floor(width / 32);
    if (side < 4) return -1;
    const bytes = [];
    for (let row = 0; row < 3; row++) for (let block = 0; block < 32; block++) {
      let sum = 0, count = 0;
      for (let j = row * side + (side >> 2); j < row * side + ((3 * side) >> 2); j++)
        for (let i = block * side + (side >> 2); i < block * side + ((3 * side) >> 2); i++) { sum += luma[j * stride + i]; count++; }
      const at = row * 4 + (block >> 3);
      bytes[at] = ((bytes[at] || 0) << 1) | (sum > 125 * count ? 1 : 0);
    }
    let crc = 0xffff;
    for (const byte of bytes.slice(0, 8)) {
      crc ^= byte << 8;
      for (let i = 0; i < 8; i++) crc = ((crc << 1) ^ (crc & 0x8000 ? 0x1021 : 0)) & 0xffff;
    }
    if (bytes[0] !== 0xa5 || crc !== ((bytes[8] << 8) | bytes[9])) return -1;
    return (bytes[1] << 16) | (bytes[2] << 8) | bytes[3];
  }

  class Viewer {
    constructor(options) {
      Object.assign(this, {options, pictures: [], sounds: [], spoken: [], sources: [], times: {}, errors: [], reading: false,
                           buffer: new Uint8Array(0)});
    }
    note(name) { if (!(name in this.times)) this.times[name] = now(); }

    async open() {
      const pc = this.pc = new RTCPeerConnection(
        this.options.relay ? {iceServers: [this.options.relay], iceTransportPolicy: 'relay'} : {iceServers: []});
      pc.onconnectionstatechange = () => this.note(pc.connectionState);
      const video = this.video = document.createElement('video');
      video.autoplay = video.playsInline = true;
      document.body.appendChild(video);
      const stream = new MediaStream();
      pc.ontrack = (event) => {
        stream.addTrack(event.track);
        event.receiver.jitterBufferTarget = this.options.jitterBufferTargetMs;
        if (event.track.kind === 'audio') this.listen(event.track).catch((e) => this.errors.push(`listen: ${e}`));
        video.srcObject = stream;
        video.play().catch((e) => { if (e.name !== 'AbortError') this.errors.push(`play: ${e}`); });
      };
      const seen = (_, frame) => { this.note('picture'); this.read(frame); video.requestVideoFrameCallback(seen); };
      video.requestVideoFrameCallback(seen);
      pc.addTransceiver('video', {direction: 'recvonly'});
      const microphone = this.options.microphone ? await this.speak() : null;
      const audio = pc.addTransceiver(microphone || 'audio', {direction: microphone ? 'sendrecv' : 'recvonly'});
      if (this.options.hushMs) pc.createDataChannel('events').onmessage = ({data}) => this.told(data);
      await pc.setLocalDescription(await pc.createOffer());
      const body = JSON.stringify({sdp: pc.localDescription.sdp, type: 'offer'});
      this.note('post');
      const response = await fetch('/offer', {method: 'POST', headers: {'content-type': 'application/json'}, body});
      const text = await response.text();
      this.note('answer');
      if (!response.ok) throw new Error(`/offer: HTTP ${response.status}: ${text.slice(0, 200)}`);
      const answer = JSON.parse(text);
      await pc.setRemoteDescription({type: answer.type, sdp: answer.sdp});
      const limit = performance.now() + this.options.timeoutMs;
      while (!(this.times.picture && this.times.sound)) {
        if (audio.receiver.getSynchronizationSources().length) this.note('sound');
        if (performance.now() > limit) throw new Error(`no picture and sound in time: ${JSON.stringify(this.times)} ${this.errors}`);
        await new Promise((resume) => setTimeout(resume, 5));
      }
      return {sessionid: String(answer.sessionid), times: this.times};
    }

    async read(frame) {
      if (this.reading || this.options.pictures === false) return; // busy, then the machine is too slow; or not wanted
      this.reading = true;
      try {
        const picture = new VideoFrame(this.video, {timestamp: 0});
        const size = picture.allocationSize();
        if (this.buffer.byteLength < size) this.buffer = new Uint8Array(size);
        const [{offset, stride}] = await picture.copyTo(this.buffer);
        const {codedWidth: width, codedHeight: height, format} = picture;
        picture.close();
        if (!/^(I420|NV12)/.test(format)) throw new Error(`pixel format ${format}`);
        const luma = this.buffer.subarray(offset);
        const {mouth, columns, rows} = this.options;
        this.pictures.push({t: performance.timeOrigin + frame.presentationTime, counter: readCounter(luma, stride, width),
                            patch: mouthPatch(luma, stride, width, height, mouth, columns, rows)});
      } catch (e) { // InvalidStateError: the video has no picture to read (yet, or any more)
        if (e.name !== 'InvalidStateError') this.errors.push(`read: ${e}`);
      }
      this.reading = false;
    }

    // Note the envelope of a track in `into`.
    async tap(track, into) {
      const context = await audio();
      const source = context.createMediaStreamSource(new MediaStream([track]));
      const tap = new AudioWorkletNode(context, 'envelope', {numberOfOutputs: 0});
      tap.port.onmessage = (event) => this[into].push({...event.data, at: now()});
      source.connect(tap);
      this.sources.push(source);
      return source;
    }

    // The microphone's track as the product's page takes it; with `options.echo` her own voice is mixed into it behind
    // the browser's canceller, as a client without one would send it.
    async speak() {
      const wanted = {echoCancellation: true, noiseSuppression: true, autoGainControl: true};
      this.capture = await navigator.mediaDevices.getUserMedia({audio: wanted});
      const [track] = this.capture.getAudioTracks();
      const source = await this.tap(track, 'spoken');
      if (!this.options.echo) return track;
      this.room = (await audio()).createMediaStreamDestination();
      source.connect(this.room);
      return this.room.stream.getAudioTracks()[0];
    }

    // What was sent before she fell silent is not played, as in the product's page (hush.ts).
    told(message) {
      const [, name] = /"event": ?"(paused|interrupted|resumed|speech\.started)"/.exec(message) || [];
      if (!name) return;
      const tracks = this.pc.getReceivers().map(({track}) => track).filter(({kind}) => kind === 'audio');
      const hushMs = this.options.hushMs[name] || 0;
      for (const track of tracks) track.enabled = !hushMs;
      clearTimeout(this.hushed);
      this.hushed = setTimeout(() => { for (const track of tracks) track.enabled = true; }, hushMs);
    }

    async listen(track) {
      const source = await this.tap(track, 'sounds');
      if (!this.room) return;
      const context = await audio();
      const {delayS, gain} = this.options.echo;
      const late = new DelayNode(context, {delayTime: delayS, maxDelayTime: 1}), softer = new GainNode(context, {gain});
      source.connect(late).connect(softer).connect(this.room);
      this.sources.push(late, softer);
    }

    drain() {
      const {pictures, sounds, spoken, errors} = this;
      this.pictures = []; this.sounds = []; this.spoken = []; this.errors = [];
      return {pictures, sounds, spoken, errors, outputLatencyS: context.outputLatency || 0};
    }

    close() {
      for (const source of this.sources) source.disconnect();
      if (this.capture) for (const track of this.capture.getTracks()) track.stop();
      this.pc.close();
      this.video.remove();
    }
  }

  let context = null, loaded = null;
  async function audio() {
    if (!context) {
      context = new AudioContext({sampleRate: 48000, latencyHint: 'interactive'});
      loaded = context.audioWorklet.addModule(URL.createObjectURL(new Blob([WORKLET], {type: 'text/javascript'})));
    }
    await loaded;
    if (context.state !== 'running') await context.resume();
    return context;
  }

  const viewers = new Map();
  window.bench = {
    now,
    warm: async () => { await audio(); },
    open: (id, options) => { viewers.set(id, new Viewer(options)); return viewers.get(id).open(); },
    drain: (id) => viewers.get(id).drain(),
    close: (id) => { viewers.get(id).close(); viewers.delete(id); },
  };
})();
