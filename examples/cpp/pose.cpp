// The joints of one crop, by ONNX Runtime's C API (onnxruntime_c_api.h and libonnxruntime, version 1.20 or newer).
//
//     g++ -std=c++17 -I$ORT/include pose.cpp -L$ORT/lib -lonnxruntime -Wl,-rpath,$ORT/lib -o pose
//     ./pose poseling-n.onnx < crop.rgb
//
// Standard input is the crop: height x width x 3 bytes, red first, in the network's own size, which the file says.
// One line a joint: x and y in pixels of the crop, and the score.

#include <onnxruntime_c_api.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

static const OrtApi* ort = OrtGetApiBase()->GetApi(ORT_API_VERSION);

// Ends the program with what went wrong.
static void check(OrtStatus* status, const char* what) {
    if (status == nullptr) return;
    std::fprintf(stderr, "%s: %s\n", what, ort->GetErrorMessage(status));
    ort->ReleaseStatus(status);
    std::exit(1);
}

int main(int count, char** arguments) {
    if (count != 2) {
        std::fprintf(stderr, "usage: %s MODEL.onnx < crop.rgb\n", arguments[0]);
        return 2;
    }
    const char* model = arguments[1];
    OrtEnv* environment = nullptr;
    check(ort->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "pose", &environment), "starting");
    check(ort->DisableTelemetryEvents(environment), "starting");
    OrtSessionOptions* options = nullptr;
    check(ort->CreateSessionOptions(&options), "starting");
    check(ort->SetIntraOpNumThreads(options, 1), "starting");
    OrtSession* session = nullptr;
    check(ort->CreateSession(environment, model, options, &session), model);

    // (N, H, W, 3), N free: the file says how large its crops are.
    OrtTypeInfo* type = nullptr;
    check(ort->SessionGetInputTypeInfo(session, 0, &type), model);
    const OrtTensorTypeAndShapeInfo* about = nullptr;
    check(ort->CastTypeInfoToTensorInfo(type, &about), model);
    std::vector<int64_t> shape(4);
    check(ort->GetDimensions(about, shape.data(), shape.size()), model);
    ort->ReleaseTypeInfo(type);
    shape[0] = 1;

    std::vector<uint8_t> crop(static_cast<size_t>(shape[1] * shape[2] * shape[3]));
    if (std::fread(crop.data(), 1, crop.size(), stdin) != crop.size()) {
        std::fprintf(stderr, "the crop has to be %lld x %lld x 3 bytes\n", (long long)shape[2], (long long)shape[1]);
        return 1;
    }
    OrtMemoryInfo* memory = nullptr;
    check(ort->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory), "memory");
    OrtValue* input = nullptr;
    check(ort->CreateTensorWithDataAsOrtValue(memory, crop.data(), crop.size(), shape.data(), shape.size(),
                                              ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, &input),
          "the crop");

    const char* inputs[] = {"crops"};
    const char* outputs[] = {"xy", "score"};
    OrtValue* found[2] = {nullptr, nullptr};
    check(ort->Run(session, nullptr, inputs, &input, 1, outputs, 2, found), model);

    float* xy = nullptr;
    float* score = nullptr;
    check(ort->GetTensorMutableData(found[0], reinterpret_cast<void**>(&xy)), "xy");
    check(ort->GetTensorMutableData(found[1], reinterpret_cast<void**>(&score)), "score");
    OrtTensorTypeAndShapeInfo* joints = nullptr;
    size_t number = 0;
    check(ort->GetTensorTypeAndShape(found[1], &joints), "score");
    check(ort->GetTensorShapeElementCount(joints, &number), "score");
    for (size_t i = 0; i < number; i++) std::printf("%.3f %.3f %.4f\n", xy[2 * i], xy[2 * i + 1], score[i]);

    ort->ReleaseTensorTypeAndShapeInfo(joints);
    for (OrtValue* value : {found[0], found[1], input}) ort->ReleaseValue(value);
    ort->ReleaseMemoryInfo(memory);
    ort->ReleaseSession(session);
    ort->ReleaseSessionOptions(options);
    ort->ReleaseEnv(environment);
    return 0;
}
