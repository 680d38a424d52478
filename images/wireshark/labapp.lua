-- A Wireshark dissector for the application protocol of labctl's programs (images/programs/app_protocol.py).
--
--   tshark -X lua_script:labapp.lua -r server.pcapng -Y 'labapp.byteorder == "big"'
--
-- (Since 4.4, tshark ignores -X as root without a word: be someone else, or put this into its plugin folder.)
--
-- A message: two bytes, the length of the JSON header, big-endian; the header, UTF-8; the content, as long as the
-- header says. TCP may cut it anywhere: what is not there yet is asked for with desegment_len, so every message is
-- shown once, complete, in the packet that completes it. Port 65432 by default (preference `labapp.ports`);
-- elsewhere a stream is recognised by how its first message starts.

local labapp = Proto("labapp", "labctl application protocol")

local ORDERS = { little = true, big = true }
local MAX_HEADER = 65535

local fields = {
  header_length = ProtoField.uint16("labapp.header_length", "Header length", base.DEC),
  header = ProtoField.string("labapp.header", "Header", base.UNICODE),
  byteorder = ProtoField.string("labapp.byteorder", "Byte order of the sender"),
  content_type = ProtoField.string("labapp.content_type", "Content type", base.UNICODE),
  content_encoding = ProtoField.string("labapp.content_encoding", "Content encoding", base.UNICODE),
  content_length = ProtoField.uint64("labapp.content_length", "Content length", base.DEC),
  format = ProtoField.string("labapp.format", "Format of the numbers"),
  content = ProtoField.bytes("labapp.content", "Content"),
  text = ProtoField.string("labapp.text", "Text", base.UNICODE),
  value = ProtoField.string("labapp.value", "Value"),
}
labapp.fields = fields

local malformed = ProtoExpert.new("labapp.malformed", "Not a message of this protocol", expert.group.MALFORMED,
  expert.severity.ERROR)
labapp.experts = { malformed }

labapp.prefs.ports = Pref.range("TCP ports", "65432", "Ports on which the protocol is spoken", 65535)

-- The header is an object of strings and one number, in one line; this reads exactly that, not all of JSON.
local ESCAPES = { ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }

local function unescape(text)
  return (text:gsub("\\(.)", ESCAPES))
end

local function parse_header(text)
  if not text:match("^%s*{.*}%s*$") then
    return nil
  end
  local header = {}
  for name, value in text:gmatch('"([^"\\]+)"%s*:%s*"(.-[^\\])"') do
    header[name] = unescape(value)
  end
  for name, value in text:gmatch('"([^"\\]+)"%s*:%s*"()"') do
    header[name] = header[name] or ""
  end
  header["content-length"] = tonumber(text:match('"content%-length"%s*:%s*(%d+)%s*[,}]'))
  return header
end

local function acceptable(header)
  return header ~= nil and ORDERS[header["byteorder"]] ~= nil and header["content-length"] ~= nil
    and header["content-length"] < 2 ^ 31
end

local SIZES = { h = 2, H = 2, i = 4, I = 4, q = 8, Q = 8, f = 4, d = 8 }

local function number_at(range, form, little)
  if form == "f" or form == "d" then -- whole ones without ".0", as Lua before 5.3 writes them
    return (tostring(little and range:le_float() or range:float()):gsub("%.0$", ""))
  elseif form == "q" then
    return tostring(little and range:le_int64() or range:int64())
  elseif form == "Q" then
    return tostring(little and range:le_uint64() or range:uint64())
  elseif form == "h" or form == "i" then
    return tostring(little and range:le_int() or range:int())
  end
  return tostring(little and range:le_uint() or range:uint())
end

local TEXT_ENCODINGS = {
  ["utf-8"] = ENC_UTF_8,
  ["ascii"] = ENC_ASCII,
}

local function text_of(range, header)
  local encoding = header["content-encoding"] or ""
  local little = header["byteorder"] == "little"
  if TEXT_ENCODINGS[encoding] then
    return range:string(TEXT_ENCODINGS[encoding])
  end
  local name, order = encoding:match("^(utf%-%d+)%-?(%a*)$")
  if name ~= "utf-16" or range:len() % 2 ~= 0 then
    return nil -- Wireshark's Lua reads no UTF-32: its bytes are shown
  end
  if order == "" and range:len() >= 2 then -- a byte order mark decides, else the header
    local mark = range(0, 2):uint()
    if mark == 0xFEFF or mark == 0xFFFE then
      little = mark == 0xFFFE
      if range:len() == 2 then
        return ""
      end
      range = range(2)
    end
  elseif order ~= "" then
    little = order == "le"
  end
  return little and range:le_ustring() or range:ustring()
end

local function add_content(range, header, tree)
  tree:add(fields.content, range)
  if header["content-type"] == "text/json" then
    local text = text_of(range, header)
    if text then
      tree:add(fields.text, range, text)
    end
  end
  local size = SIZES[header["format"] or ""]
  if header["content-type"] == "binary/array" and size then
    for start = 0, range:len() - size, size do
      local item = range(start, size)
      tree:add(fields.value, item, number_at(item, header["format"], header["byteorder"] == "little"))
    end
  end
end

-- One message that is complete in buffer, from offset on.
local function add_message(buffer, offset, header_length, header, tree)
  local length = header["content-length"]
  local message = tree:add(labapp, buffer(offset, 2 + header_length + length))
  local header_range = buffer(offset + 2, header_length)
  message:add(fields.header_length, buffer(offset, 2))
  message:add(fields.header, header_range, header_range:string(ENC_UTF_8))
  message:add(fields.byteorder, header_range, header["byteorder"])
  message:add(fields.content_type, header_range, header["content-type"] or "")
  message:add(fields.content_encoding, header_range, header["content-encoding"] or "")
  message:add(fields.content_length, header_range, UInt64(length))
  if header["format"] then
    message:add(fields.format, header_range, header["format"])
  end
  if length > 0 then
    add_content(buffer(offset + 2 + header_length, length), header, message)
  end
  message:append_text(", " .. header["byteorder"] .. "-endian sender, " .. (header["content-type"] or ""))
end

local function wait_for(pinfo, offset, bytes)
  pinfo.desegment_offset = offset
  pinfo.desegment_len = bytes
end

function labapp.dissector(buffer, pinfo, tree)
  local offset = 0
  while offset < buffer:len() do
    local here = buffer:len() - offset
    if here < 2 then
      return wait_for(pinfo, offset, DESEGMENT_ONE_MORE_SEGMENT)
    end
    local header_length = buffer(offset, 2):uint()
    if here < 2 + header_length then
      return wait_for(pinfo, offset, 2 + header_length - here)
    end
    local header = header_length > 0 and parse_header(buffer(offset + 2, header_length):raw()) or nil
    if not acceptable(header) then
      tree:add(labapp, buffer(offset)):add_proto_expert_info(malformed)
      pinfo.cols.protocol = "LABAPP"
      return
    end
    local missing = 2 + header_length + header["content-length"] - here
    if missing > 0 then
      return wait_for(pinfo, offset, missing)
    end
    pinfo.cols.protocol = "LABAPP"
    pinfo.cols.info = string.format("%s, %s-endian, %d bytes", header["content-type"] or "?", header["byteorder"],
      header["content-length"])
    add_message(buffer, offset, header_length, header, tree)
    offset = offset + 2 + header_length + header["content-length"]
  end
end

-- On other ports: two bytes, then what every header of this protocol starts with.
local function heuristic(buffer, pinfo, tree)
  local start = '{"byteorder": "'
  if buffer:len() < 2 + #start or buffer(2, #start):raw() ~= start or buffer(0, 2):uint() > MAX_HEADER then
    return false
  end
  pinfo.conversation = labapp
  labapp.dissector(buffer, pinfo, tree)
  return true
end

labapp:register_heuristic("tcp", heuristic)

local registered
local function register_ports()
  local ports = DissectorTable.get("tcp.port")
  if registered then
    ports:remove(registered, labapp)
  end
  registered = labapp.prefs.ports
  ports:add(registered, labapp)
end

labapp.prefs_changed = register_ports
register_ports()
